"""Where chunks are processed: processes, Dask or Spark. Imports `process_chunk`; Dask and Spark only when used."""
