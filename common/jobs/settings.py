"""Where Redis is, and how many clients may wait for jobs: environment variables of patterns with a queue."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings


def _check_scheme(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("expected redis://HOST:PORT/DATABASE")
    return url


RedisUrl = Annotated[SecretStr, AfterValidator(_check_scheme)]
"""The address of a Redis or Valkey server; it may hold a password."""


class WaitSettings(BaseSettings):
    """A proxy whose clients wait for jobs."""

    max_waiting_requests: int = Field(
        512, gt=0, description="clients that wait for a job or its events; at most half of MAX_CONCURRENT_REQUESTS"
    )
