"""How a service calls others: the environment variables of `common/backends`."""

from pydantic import Field

from common.service.settings import ServiceSettings


class CallerSettings(ServiceSettings):
    """A service that calls others."""

    breaker_failures: int = Field(5, gt=0, description="calls that fail in a row; then the circuit breaker opens")
    breaker_open_seconds: float = Field(
        1.0, gt=0, description="how long the breaker stays open; then one call is let through"
    )
