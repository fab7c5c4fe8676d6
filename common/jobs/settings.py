"""Where Redis is, and how many clients may wait for jobs: environment variables of patterns with a queue."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings
from redis import Redis

EXPECTED = "expected redis://HOST:PORT/DATABASE"


def _check_url(url: SecretStr) -> SecretStr:
    """The URL, unchanged; raises ValueError, without a part of the URL, if a connection could not be made from it."""
    text = url.get_secret_value()
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError(EXPECTED)
    try:
        Redis.from_url(text).connection_pool.make_connection()
        path = urlsplit(text).path.removeprefix("/")
    except Exception:  # of any type: redis-py passes the URL's parameters on to its classes
        raise ValueError(f"{EXPECTED}; special characters in a password as %XX, TLS by rediss://") from None
    if not text.startswith("unix://") and path and not path.isdigit():
        raise ValueError(f"{EXPECTED}, with a number as the database")
    return url


RedisUrl = Annotated[SecretStr, AfterValidator(_check_url)]
"""The address of a Redis or Valkey server; it may hold a password."""


class WaitSettings(BaseSettings):
    """A proxy whose clients wait for jobs."""

    max_waiting_requests: int = Field(
        512, gt=0, description="clients that wait for a job or its events; at most half of MAX_CONCURRENT_REQUESTS"
    )
