"""The pattern batch: the manager starts jobs, a job reads and writes Parquet. Imports `common`, no other pattern."""
