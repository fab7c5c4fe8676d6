"""The trial run: one chunk, nothing published. Imports engines, dataset and output."""
