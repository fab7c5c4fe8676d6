"""The environment variables of web_single: those of every predictor, and where it serves gRPC."""

from common.open_inference.grpc_server import GrpcSettings


class Settings(GrpcSettings):
    """Defaults that work; nothing is required."""
