"""The six patterns as a user knows them: what is asked of each, what its Procfile starts, and from which settings."""
