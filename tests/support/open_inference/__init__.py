"""Clients of the Open Inference Protocol over REST and gRPC, and models of many tensors."""
