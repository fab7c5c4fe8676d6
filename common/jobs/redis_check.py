"""Checks at start, and at every readiness probe, that Redis or Valkey can do what the pattern needs.

A PING is not enough: a replica, a server in cluster mode, and a user with too few permissions all answer it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from common.jobs.redis_connection import REDIS_UNAVAILABLE
from common.service.service import CHECK_SECONDS, Service

logger = logging.getLogger(__name__)

TRY_ALL = """#!lua flags=allow-oom,no-cluster
-- ARGV: a key to write, which is removed at once, and a channel. Returns the commands that fail. It runs when memory is
-- full, too, since jobs can still be fetched then.
local missing = {}
for _, command in ipairs({
  { 'HSET', ARGV[1], 'tried', '1' }, { 'EXPIRE', ARGV[1], '0' }, { 'TIME' }, { 'PUBLISH', ARGV[2], '' }
}) do
  local reply = redis.pcall(unpack(command))
  if type(reply) == 'table' and reply.err then missing[#missing + 1] = command[1] .. ': ' .. reply.err end
end
return missing
"""


class RedisCheck:
    """A write, a script, a message: `app` is ready only while all of them succeed. The log says what is missing, once.

    Keys and channels of `pattern` begin with its name.
    """

    def __init__(self, app: Service, redis: Redis, pattern: str, channel: str) -> None:
        self._redis = redis
        self._key, self._channel = f"{pattern}:check", channel
        self._missing = ""
        app.add_check(self.passes)
        app.add_lifespan(self._try_at_start)

    async def passes(self) -> bool:
        """Whether Redis can do all of it now."""
        missing = await self._find_missing()
        if missing != self._missing:
            if missing:
                logger.error("Redis cannot be used: %s", missing)
            else:
                logger.info("Redis can be used")
        self._missing = missing
        return not missing

    async def _find_missing(self) -> str:
        try:
            async with asyncio.timeout(0.9 * CHECK_SECONDS):
                found: list[bytes] = await self._redis.eval(TRY_ALL, 0, self._key, self._channel)
        except REDIS_UNAVAILABLE as error:  # a TimeoutError is an OSError
            return str(error) or type(error).__name__
        return "; ".join(line.decode(errors="replace") for line in found)

    @asynccontextmanager
    async def _try_at_start(self) -> AsyncIterator[None]:
        await self.passes()
        yield


async def can_write(redis: Redis, key: str) -> bool:
    """Whether a value can be stored under this key: all that a store needs. It expires at once."""
    try:
        return bool(await redis.set(key, b"", px=1))
    except REDIS_UNAVAILABLE:
        return False
