"""What the manager stores in SQLite: schedules and runs, with their states. Imports the schemas and `output`."""
