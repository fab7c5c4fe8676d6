"""How one service calls another: HTTP client, deadline, retry, circuit breaker, and a classifier over REST or gRPC.

Imports `common/service`; `classifier_grpc.py` also imports the messages that `common/open_inference` generates.
"""
