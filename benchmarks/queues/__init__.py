"""The same job through several queues. Each module says how its worker starts, and has `submit` and `result`."""
