"""The horizontal pattern for tests: links that fail, jobs, and an action that fails."""
