"""What a job runs in: a process or a container. Imports settings, schemas and the lock of `output`."""
