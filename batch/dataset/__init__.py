"""The input of a run: files, chunks, columns. Imports nothing else of batch."""
