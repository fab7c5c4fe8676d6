"""What `common.run` is made of: a Procfile, its processes, the terminal. Imports only Python's standard library."""
