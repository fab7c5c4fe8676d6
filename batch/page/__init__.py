"""The page at `/`. Imports nothing else of batch."""
