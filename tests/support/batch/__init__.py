"""The batch pattern for tests: its manager, its job as a process, and data sets."""
