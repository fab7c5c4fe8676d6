"""How a service calls others: the environment variables of `common/backends`."""

import re
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field
from yarl import URL

from common.service.settings import ServiceSettings

_MODEL_URL = re.compile(r"(https?|grpc)://[^/?#\s]+/v2/models/[^/?#\s]+")


def _check_model_url(schemes: tuple[str, ...], url: str) -> str:
    """The URL, unchanged; raises `ValueError`, without a part of the URL, if no model can be called at it."""
    try:
        parts = URL(url)
    except ValueError:  # such as for the port 99999
        parts = URL()
    if not _MODEL_URL.fullmatch(url) or parts.scheme not in schemes or not parts.host:
        usual = " or ".join(scheme for scheme in schemes if scheme != "https")
        raise ValueError(f"expected {usual}://HOST:PORT/v2/models/NAME")
    return url


HttpModelUrl = Annotated[str, AfterValidator(partial(_check_model_url, ("http", "https")))]
"""The address of a model that is called over REST."""
ModelUrl = Annotated[str, AfterValidator(partial(_check_model_url, ("http", "https", "grpc")))]
"""The address of a model that is called over REST or gRPC."""


class CallerSettings(ServiceSettings):
    """A service that calls others."""

    breaker_failures: int = Field(5, gt=0, description="calls that fail in a row; then the circuit breaker opens")
    breaker_open_seconds: float = Field(
        1.0, gt=0, description="how long the breaker stays open; then one call is let through"
    )
