"""How a service reaches its Redis or Valkey: a client that closes with the app, and deadlines for its commands."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError as RedisConnectionError,
    MasterDownError,
    ReadOnlyError,
    RedisError,
    TimeoutError as RedisTimeoutError,
)

from common.service.deadline import Caller, remaining_timeout
from common.service.problems import Problem
from common.service.service import Service

CONNECTION_ERRORS: tuple[Any, ...] = (RedisConnectionError, RedisTimeoutError, OSError, RuntimeError)
"""Errors of a broken connection. uvloop raises RuntimeError when the connection was closed in the meantime."""
REDIS_UNAVAILABLE = (RedisError, *CONNECTION_ERRORS)
NOT_A_PRIMARY: tuple[Any, ...] = (ReadOnlyError, MasterDownError, BusyLoadingError)
"""What a server says that cannot take a write: it was a primary before a failover, or it is loading its data."""
SILENCE_SECONDS = 5.0
"""A connection that has received nothing for so long is dead. No command blocks for as long as this."""


class RetryOnNewConnection(Retry):
    """Sends a command once more, on a new connection.

    After a failover, the address may lead to another server, but open connections stay with the old one. So none is
    kept to a server that is not a primary: a read on it could miss what was just written.
    """

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 1, supported_errors=CONNECTION_ERRORS + NOT_A_PRIMARY)
        self.pool: ConnectionPool | None = None

    def __deepcopy__(self, memo: object) -> "RetryOnNewConnection":
        return self  # redis-py copies it for each connection

    async def call_with_retry(
        self, do: Callable[[], Awaitable[Any]], fail: Callable[..., Any], *arguments: Any, **options: Any
    ) -> Any:
        """The result of `do`; `fail` closes the connection that it used."""

        async def drop(error: Exception, *count: int) -> None:
            if isinstance(error, NOT_A_PRIMARY) and self.pool:
                await self.pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]
                await self.pool.disconnect(inuse_connections=False)
            await fail(error, *count)

        return await super().call_with_retry(do, drop, *arguments, **options)


def connect(app: Service, url: SecretStr) -> Redis:
    """A client with as many connections as the app handles requests. A command may be sent twice."""
    retry = RetryOnNewConnection()
    redis = Redis.from_url(
        url.get_secret_value(),
        socket_timeout=SILENCE_SECONDS,  # requests have deadlines of their own: see redis_deadline
        socket_connect_timeout=1.0,
        retry=retry,
        max_connections=app.settings.max_concurrent_requests,
    )
    retry.pool = redis.connection_pool

    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        async with redis:
            yield

    app.add_lifespan(opened)
    return redis


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
