"""The environment variables of web_single: those of every predictor, and no more."""

from common.settings import PredictorSettings


class Settings(PredictorSettings):
    """Defaults that work; nothing is required."""
