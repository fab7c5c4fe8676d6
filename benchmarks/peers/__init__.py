"""Other model servers, each written as its own documentation does it; each runs in an environment of its own."""
