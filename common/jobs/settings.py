"""Where Redis is: the type of the environment variable REDIS_URL."""

from typing import Annotated

from pydantic import AfterValidator, SecretStr


def _check_scheme(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("expected redis://HOST:PORT/DATABASE")
    return url


RedisUrl = Annotated[SecretStr, AfterValidator(_check_scheme)]
"""The address of a Redis or Valkey server; it may hold a password."""
