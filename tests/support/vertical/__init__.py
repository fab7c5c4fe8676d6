"""The vertical pattern for tests: letters, and what happens to its services."""
