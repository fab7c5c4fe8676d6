"""How a service reaches its Redis or Valkey: a client that closes with the app, and deadlines for its commands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError, RedisError, TimeoutError as RedisTimeoutError

from common.service.deadline import Caller, remaining_timeout
from common.service.problems import Problem
from common.service.service import Service

CONNECTION_ERRORS: tuple[Any, ...] = (RedisConnectionError, RedisTimeoutError, OSError, RuntimeError)
"""Errors of a broken connection. uvloop raises RuntimeError when the connection was closed in the meantime."""
REDIS_UNAVAILABLE = (RedisError, *CONNECTION_ERRORS)
SILENCE_SECONDS = 5.0
"""A connection that has received nothing for so long is dead. No command blocks for as long as this."""


def connect(app: Service, url: SecretStr) -> Redis:
    """A client with as many connections as the app handles requests. A command may be sent twice."""
    redis = Redis.from_url(
        url.get_secret_value(),
        socket_timeout=SILENCE_SECONDS,  # requests have deadlines of their own: see redis_deadline
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 1, supported_errors=CONNECTION_ERRORS),
        max_connections=app.settings.max_concurrent_requests,
    )

    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        async with redis:
            yield

    app.add_lifespan(opened)
    return redis


async def ping(redis: Redis) -> bool:
    """Whether Redis answers."""
    try:
        return bool(await redis.ping())
    except REDIS_UNAVAILABLE:
        return False


@asynccontextmanager
async def redis_deadline(caller: Caller, name: str) -> AsyncIterator[None]:
    """Enforce the request's deadline on the Redis commands of this block, and record how long they took.

    Raises `Problem` 503, which calls the server by `name`, if Redis does not answer in time or at all.
    """
    started = monotonic()
    try:
        if (seconds := remaining_timeout(caller.deadline)) <= 0:
            raise TimeoutError
        async with asyncio.timeout(seconds):
            yield
    except REDIS_UNAVAILABLE as error:  # a TimeoutError is an OSError
        raise Problem(503, f"the {name} does not answer ({type(error).__name__})", {"Retry-After": "1"}) from None
    finally:
        caller.timings[name] = monotonic() - started
