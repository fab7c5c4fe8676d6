"""The same over gRPC: the methods, the server, interceptors, streams. `service.py` is where to begin."""
