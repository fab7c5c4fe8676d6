"""How a service calls others: the environment variables of `common/backends`."""

from pydantic import Field

from common.service.settings import ServiceSettings


class CallerSettings(ServiceSettings):
    """A service that calls others."""

    breaker_failures: int = Field(5, gt=0, description="so many calls fail in a row: the backend is left alone")
    breaker_open_seconds: float = Field(1.0, gt=0, description="for so long; then one call tries it again")
