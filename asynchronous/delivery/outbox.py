"""What has ended and is to be brought elsewhere: a stream for the result database, and a list of webhooks by due time.

Both are written in the step that ends a job, so no result is missed; a delivery process that is killed does what it had
in hand once more.
"""

from collections.abc import Sequence
from time import time
from typing import Any, NamedTuple

from redis.asyncio import Redis

from common.jobs.redis_connection import claim_idle, forget_silent, make_group

STREAM, GROUP = "asynchronous:finished", "delivery"
WEBHOOKS = "asynchronous:webhooks"
SILENT_MS = 10_000
"""What another delivery process has had for so long without an end is taken from it."""

TAKE = """#!lua flags=allow-oom
-- ARGV: time, until when nobody else shall take them, how many. Gives each job and its number of attempts.
local taken = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'asynchronous:webhooks', '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])) do
  local job = 'asynchronous:job:' .. id
  local status = redis.call('HGET', job, 'status')
  if status == 'done' or status == 'failed' then
    redis.call('ZADD', 'asynchronous:webhooks', ARGV[2], id)
    taken[#taken + 1] = {id, redis.call('HINCRBY', job, 'delivery_attempts', 1)}
  else  -- it has expired, or is done once more, and will be due again at its end
    redis.call('ZREM', 'asynchronous:webhooks', id)
  end
end
return taken
"""

LEAVE = """#!lua flags=allow-oom
-- ARGV: id, until when it was ours, when it is due again (nothing: never). Unless it has come due anew meanwhile.
local due = redis.call('ZSCORE', 'asynchronous:webhooks', ARGV[1])
if not due or tonumber(due) ~= tonumber(ARGV[2]) then return end
if ARGV[3] == '' then redis.call('ZREM', 'asynchronous:webhooks', ARGV[1])
else redis.call('ZADD', 'asynchronous:webhooks', ARGV[3], ARGV[1]) end
"""

Finished = tuple[bytes, str, dict[bytes, bytes]]
"""The place in the stream, the job's id, and its fields: none if it has expired."""


class Due(NamedTuple):
    """A job whose webhook is due, which attempt this is, and until when it is ours alone."""

    job_id: str
    attempt: int
    until: float


class Outbox:
    """Read by delivery processes; several share the work."""

    def __init__(self, redis: Redis, result_ttl_seconds: int, silent_ms: int = SILENT_MS) -> None:
        self._redis = redis
        self._ttl, self._silent_ms = result_ttl_seconds, silent_ms
        self._take, self._leave = redis.register_script(TAKE), redis.register_script(LEAVE)

    async def open(self) -> None:
        """Make the stream and its group, unless they are there; forget delivery processes that are no more."""
        await make_group(self._redis, STREAM, GROUP)
        await forget_silent(self._redis, STREAM, GROUP, 10 * self._silent_ms)

    async def finished(self, consumer: str, count: int, block_ms: int) -> list[Finished]:
        """Up to `count` jobs that have ended; those first that another process began to deliver and has not."""
        entries = await claim_idle(self._redis, STREAM, GROUP, consumer, self._silent_ms, count)
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

    async def due(self, count: int, seconds: float) -> list[Due]:
        """Up to `count` jobs whose webhook is due; for so many seconds they are ours alone."""
        now = time()
        until = now + seconds
        await self._redis.zremrangebyscore(WEBHOOKS, "-inf", now - self._ttl)
        taken: Any = await self._take(args=[now, until, count])
        return [Due(str(job_id, "ascii"), int(attempt), until) for job_id, attempt in taken]

    async def job(self, job_id: str) -> dict[bytes, bytes]:
        """The fields of a job; none where there is no such job any more."""
        return await self._redis.hgetall(f"asynchronous:job:{job_id}")  # type: ignore[return-value]

    async def leave(self, due: Due, again_at: float | None = None) -> None:
        """Its webhook is delivered or given up, or is to be tried once more then."""
        await self._leave(args=[due.job_id, due.until, "" if again_at is None else again_at])
