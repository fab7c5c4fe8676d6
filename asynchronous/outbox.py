"""What has ended and is to be brought elsewhere: a stream for the result database, and a list of webhooks by due time.

Both are written in the step that ends a job, so no result is missed; a delivery process that is killed does what it had
in hand once more.
"""

from collections.abc import Sequence
from time import time
from typing import Any

from redis.asyncio import Redis

from common.redis import make_group

STREAM, GROUP = "asynchronous:finished", "delivery"
WEBHOOKS = "asynchronous:webhooks"
SILENT_MS = 10_000
"""What another delivery process has had for so long without an end is taken from it."""

TAKE = """#!lua flags=allow-oom
-- ARGV: time, until when nobody else shall take them, how many
local due = redis.call('ZRANGEBYSCORE', 'asynchronous:webhooks', '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do redis.call('ZADD', 'asynchronous:webhooks', ARGV[2], id) end
return due
"""

Finished = tuple[bytes, str, dict[bytes, bytes]]
"""The place in the stream, the job's id, and its fields: none if it has expired."""


class Outbox:
    """Read by delivery processes; several share the work."""

    def __init__(self, redis: Redis, result_ttl_seconds: int) -> None:
        self._redis = redis
        self._ttl = result_ttl_seconds
        self._take = redis.register_script(TAKE)

    async def open(self) -> None:
        """Make the stream and its group, unless they are there."""
        await make_group(self._redis, STREAM, GROUP)

    async def finished(self, consumer: str, count: int, block_ms: int) -> list[Finished]:
        """Up to `count` jobs that have ended; those first that another process began to deliver and has not."""
        found: Any = await self._redis.xautoclaim(STREAM, GROUP, consumer, SILENT_MS, count=count)
        entries = found[1]
        if not entries:
            read: Any = await self._redis.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=count, block=block_ms)
            entries = read[0][1] if read else []
        ids = [str(fields[b"job_id"], "ascii") for _, fields in entries]
        return [(entry, job_id, await self.job(job_id)) for (entry, _), job_id in zip(entries, ids, strict=True)]

    async def stored(self, entries: Sequence[bytes]) -> None:
        """These are in the result database, and need not be told again."""
        async with self._redis.pipeline() as transaction:
            transaction.xack(STREAM, GROUP, *entries)
            transaction.xdel(STREAM, *entries)
            await transaction.execute()

    async def due(self, count: int, seconds: float) -> list[str]:
        """Up to `count` jobs whose webhook is due; for so many seconds they are ours alone."""
        now = time()
        await self._redis.zremrangebyscore(WEBHOOKS, "-inf", now - self._ttl)
        return [str(job_id, "ascii") for job_id in await self._take(args=[now, now + seconds, count])]

    async def job(self, job_id: str) -> dict[bytes, bytes]:
        """The fields of a job; none where there is no such job any more."""
        return await self._redis.hgetall(f"asynchronous:job:{job_id}")  # type: ignore[return-value]

    async def count_attempt(self, job_id: str) -> int:
        """How many attempts at its webhook there are, with the one that now begins."""
        return int(await self._redis.hincrby(f"asynchronous:job:{job_id}", "delivery_attempts", 1))

    async def again(self, job_id: str, at: float) -> None:
        """Have its webhook tried once more then."""
        await self._redis.zadd(WEBHOOKS, {job_id: at})

    async def settled(self, job_id: str) -> None:
        """Its webhook is delivered, or given up."""
        await self._redis.zrem(WEBHOOKS, job_id)
