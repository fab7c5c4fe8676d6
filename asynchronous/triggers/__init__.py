"""Two other ways to start a job, for comparison: a cache and Pub/Sub. Imports the pattern's schemas and settings."""
