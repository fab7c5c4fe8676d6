"""The environment variables of web_single: those of every predictor, and where it serves gRPC."""

from common.open_inference.settings import GrpcSettings
from common.prediction.settings import PredictSettings


class Settings(GrpcSettings, PredictSettings):
    """All have defaults that work; none is required."""
