"""The proof, made at start, that requests may share a run: with which rows it is made, and what must hold."""
