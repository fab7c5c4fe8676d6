"""How a service reaches its Redis or Valkey: connections that end with the app, each question within its deadline."""

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

from common.backends.backend import Caller, seconds_to_give
from common.service.problems import Problem
from common.service.service import Service

BROKEN: tuple[Any, ...] = (RedisConnectionError, RedisTimeoutError, OSError, RuntimeError)
"""How it is told that a connection is of no use; uvloop tells by the last that it has been closed meanwhile."""
AWAY = (RedisError, *BROKEN)
SILENCE_SECONDS = 5.0
"""A connection on which nothing has come for so long is dead; no wait for a message is as long."""


def connect(app: Service, url: SecretStr) -> Redis:
    """A client with as many connections as the app works on requests; what it sends may be sent twice."""
    redis = Redis.from_url(
        url.get_secret_value(),
        socket_timeout=SILENCE_SECONDS,  # whoever asks for others has a deadline of its own
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 1, supported_errors=BROKEN),
        max_connections=app.settings.max_concurrent_requests,
    )

    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        async with redis:
            yield

    app.add_lifespan(opened)
    return redis


async def answers(redis: Redis) -> bool:
    """Whether it answers."""
    try:
        return bool(await redis.ping())
    except AWAY:
        return False


@asynccontextmanager
async def within(caller: Caller, name: str) -> AsyncIterator[None]:
    """The caller's deadline holds for what is asked in this block, and is told how long it took.

    Whatever goes wrong is a `Problem` 503, which calls it by `name`.
    """
    started = monotonic()
    try:
        if (seconds := seconds_to_give(caller.deadline)) <= 0:
            raise TimeoutError
        async with asyncio.timeout(seconds):
            yield
    except AWAY as error:  # a TimeoutError is an OSError
        raise Problem(503, f"the {name} does not answer ({type(error).__name__})", {"Retry-After": "1"}) from None
    finally:
        caller.timings[name] = monotonic() - started


MAKE_GROUP = """#!lua flags=allow-oom
-- KEYS: stream. ARGV: group. Where memory is full it is needed all the same: reading the stream is what makes room.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP') then return made end
"""


async def make_group(redis: Redis, stream: str, group: str) -> None:
    """Make a stream and a consumer group that reads it from its beginning, unless they are there."""
    await redis.eval(MAKE_GROUP, 1, stream, group)


FORGET_SILENT = """#!lua flags=allow-oom
-- KEYS: stream. ARGV: group, milliseconds.
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local facts = {}
  for i = 1, #consumer, 2 do facts[consumer[i]] = consumer[i + 1] end
  if facts.pending == 0 and facts.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], facts.name)
  end
end
"""


async def forget_silent(redis: Redis, stream: str, group: str, silent_ms: int) -> None:
    """Strike consumers that hold nothing and have been silent for so long off the group's list.

    Each process is a consumer of its own, and a list of all that ever were would only grow.
    """
    await redis.eval(FORGET_SILENT, 1, stream, group, silent_ms)


async def claim_idle(redis: Redis, stream: str, group: str, consumer: str, idle_ms: int, count: int) -> list[Any]:
    """Up to `count` entries that another consumer has had for so long: pairs of a place and its fields.

    All that is pending is looked through: one XAUTOCLAIM looks at ten times `count` entries and no more.
    """
    cursor: Any = "0-0"
    while True:
        found: Any = await redis.xautoclaim(stream, group, consumer, idle_ms, start_id=cursor, count=count)
        cursor, entries = found[0], found[1]
        if entries or cursor == b"0-0":
            return list(entries)
