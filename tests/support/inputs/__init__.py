"""Pictures and documents, good and bad, drawn and generated."""
