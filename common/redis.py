"""How a service reaches its Redis or Valkey: connections that end with the app, each question within its deadline."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from common.backend import Caller, seconds_to_give
from common.errors import Problem
from common.service import Service


def connect(app: Service, url: SecretStr) -> Redis:
    """A client with as many connections as the app works on requests; what it sends may be sent twice."""
    redis = Redis.from_url(
        url.get_secret_value(),
        socket_timeout=None,  # whoever asks has a deadline of its own, and some wait for long
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 1),
        max_connections=app.settings.max_concurrent_requests,
    )

    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        async with redis:
            yield

    app.add_companion(opened)
    return redis


async def answers(redis: Redis) -> bool:
    """Whether it answers."""
    try:
        return bool(await redis.ping())
    except RedisError:
        return False


@asynccontextmanager
async def within(caller: Caller, name: str) -> AsyncIterator[None]:
    """The caller's deadline holds for what is asked in this block, and is told how long it took.

    Whatever goes wrong is a `Problem` 503, which calls it by `name`.
    """
    started = monotonic()
    try:
        async with asyncio.timeout(seconds_to_give(caller.deadline)):
            yield
    except (RedisError, TimeoutError) as error:
        raise Problem(503, f"the {name} does not answer ({type(error).__name__})", {"Retry-After": "1"}) from None
    finally:
        caller.timings[name] = monotonic() - started


async def make_group(redis: Redis, stream: str, group: str) -> None:
    """Make a stream and a consumer group that reads it from its beginning, unless they are there."""
    try:
        await redis.xgroup_create(stream, group, "0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
