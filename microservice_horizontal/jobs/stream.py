"""Jobs that every member reads: every Redis command of the asynchronous half is here.

A job is one entry of a stream that each member reads through a consumer group of its own, so none waits for another.
An answer is kept under (job, member), and the first one stays; so it does no harm if work is done twice, and reading,
claiming and acknowledging is all that a member needs. The answers are a stream too, for the post-processor.
"""

from collections.abc import Mapping, Sequence
from time import time
from typing import Any, NamedTuple

from redis.asyncio import Redis

from common.jobs.streams import claim_idle, ensure_group, remove_idle_consumers, renew_leases

JOBS, ANSWERS = "microservice_horizontal:jobs", "microservice_horizontal:answers"
DEADLINES = "microservice_horizontal:deadlines"
EVENTS = "microservice_horizontal:events"
POST_PROCESSORS = "post-processors"
SILENT_LEASES = 3
"""After so many a process that holds nothing is taken for one that is no more."""

SUBMIT = """#!lua
-- ARGV: id, time, deadline, ttl, payload, traceparent, how many may be open. Gives whether the job is kept.
local id, now, deadline, ttl, payload, traceparent, most = unpack(ARGV)
local job = 'microservice_horizontal:job:' .. id
if redis.call('EXISTS', job) == 1 then return 1 end  -- sent again after a broken connection
if redis.call('ZCARD', 'microservice_horizontal:deadlines') >= tonumber(most) then return 0 end
local oldest = string.format('%d', (now - ttl) * 1000)
local entry = redis.call('XADD', 'microservice_horizontal:jobs', 'MINID', '=', oldest, '*',
                         'job_id', id, 'payload', payload, 'traceparent', traceparent)
redis.call('HSET', job, 'status', 'running', 'submitted_at', now, 'deadline', deadline, 'entry', entry)
redis.call('EXPIRE', job, ttl)
redis.call('ZADD', 'microservice_horizontal:deadlines', deadline, id)
return 1
"""

ANSWER = """#!lua flags=allow-oom
-- ARGV: member, oldest entry to keep, then of each answer: job, entry, content. The first answer stays.
local member, oldest, told = ARGV[1], ARGV[2], {}
for i = 3, #ARGV, 3 do
  local id, job = ARGV[i], 'microservice_horizontal:job:' .. ARGV[i]
  redis.call('XACK', 'microservice_horizontal:jobs', member, ARGV[i + 1])
  if redis.call('EXISTS', job) == 0 then  -- it has expired before this member came to it
    redis.call('XDEL', 'microservice_horizontal:jobs', ARGV[i + 1])
  elseif redis.call('HSETNX', job, 'answer:' .. member, ARGV[i + 2]) == 1 then
    redis.call('XADD', 'microservice_horizontal:answers', 'MINID', '~', oldest, '*', 'job_id', id, 'member', member)
    told[#told + 1] = id .. ' ' .. member
  end
end
if #told > 0 then redis.call('PUBLISH', 'microservice_horizontal:events', table.concat(told, '\\n')) end
"""

EARLY = """#!lua flags=allow-oom
-- ARGV: id, content. A job that has expired meanwhile is not made again.
local job = 'microservice_horizontal:job:' .. ARGV[1]
if redis.call('EXISTS', job) == 1 and redis.call('HSETNX', job, 'early', ARGV[2]) == 1 then
  redis.call('PUBLISH', 'microservice_horizontal:events', ARGV[1] .. ' early')
end
"""

CLOSE = """#!lua flags=allow-oom
-- ARGV: id, time, then fields and values. A job is closed once; gives whether it was by this call.
local id, job = ARGV[1], 'microservice_horizontal:job:' .. ARGV[1]
redis.call('ZREM', 'microservice_horizontal:deadlines', id)
if redis.call('HGET', job, 'status') ~= 'running' then return 0 end
redis.call('HSET', job, 'finished_at', ARGV[2], unpack(ARGV, 3))
redis.call('PUBLISH', 'microservice_horizontal:events', id .. ' closed')
return 1
"""

Fields = dict[bytes, bytes]


class Entry(NamedTuple):
    """A job as a member gets it, and how often a process of this member has begun it."""

    entry: bytes
    job_id: str
    payload: bytes
    traceparent: bytes
    attempts: int = 1


class Told(NamedTuple):
    """That a member has answered."""

    entry: bytes
    job_id: str
    member: str


class JobStream:
    """The jobs, for proxy, members and post-processor. Times are seconds since the epoch."""

    def __init__(self, redis: Redis, job_ttl_seconds: int) -> None:
        self._redis = redis
        self._ttl = job_ttl_seconds
        self._submit, self._answer, self._early, self._close = map(
            redis.register_script, (SUBMIT, ANSWER, EARLY, CLOSE)
        )

    # The proxy

    async def submit(self, job_id: str, payload: bytes, seconds: float, traceparent: str, most: int) -> bool:
        """Keep a job for all members, unless `most` are open; in so many seconds it is closed.

        May be repeated with the same id.
        """
        now = time()
        return bool(await self._submit(args=[job_id, now, now + seconds, self._ttl, payload, traceparent, most]))

    async def get(self, job_id: str) -> Fields:
        """All that is known of a job; nothing where there is no such job, or no more."""
        return await self._redis.hgetall(_key(job_id))  # type: ignore[return-value]

    # The members

    async def read(self, member: str, consumer: str, count: int, block_ms: int) -> list[Entry]:
        """Up to `count` jobs that this member has not read yet; waits for the first as long as `block_ms`."""
        await ensure_group(self._redis, JOBS, member)
        found: Any = await self._redis.xreadgroup(member, consumer, {JOBS: ">"}, count=count, block=block_ms)
        return [_entry(entry, fields) for entry, fields in found[0][1]] if found else []

    async def take_over(self, member: str, consumer: str, lease_ms: int) -> list[Entry]:
        """One job that another process of this member has begun, and not answered within its lease.

        Where there is none, processes that are no more are forgotten.
        """
        await ensure_group(self._redis, JOBS, member)
        taken = []
        for entry, fields in await claim_idle(self._redis, JOBS, member, consumer, lease_ms, 1):
            for held in await self._redis.xpending_range(JOBS, member, entry, entry, 1):  # or it has just been answered
                taken.append(_entry(entry, fields, int(held["times_delivered"])))
        if not taken:
            await remove_idle_consumers(self._redis, JOBS, member, SILENT_LEASES * lease_ms)
        return taken

    async def renew_leases(self, member: str, consumer: str, entries: Sequence[bytes]) -> set[bytes]:
        """Keep these jobs from being taken over. Returns the entries that another process has taken."""
        return await renew_leases(self._redis, JOBS, member, consumer, entries)

    async def answer(self, member: str, answers: Mapping[Entry, bytes]) -> None:
        """Keep this member's answers, tell of them, and be done with the jobs, all in one step."""
        parts = [part for job, content in answers.items() for part in (job.job_id, job.entry, content)]
        await self._answer(args=[member, int((time() - self._ttl) * 1e3), *parts])

    # The post-processor

    async def told(self, consumer: str, count: int, block_ms: int, lease_ms: int) -> list[Told]:
        """Up to `count` answers that no post-processor has dealt with; waits as long as `block_ms`.

        Where a dead one has left none, those that are no more are forgotten.
        """
        await ensure_group(self._redis, ANSWERS, POST_PROCESSORS)
        entries = await claim_idle(self._redis, ANSWERS, POST_PROCESSORS, consumer, lease_ms, count)
        if not entries:
            group = POST_PROCESSORS
            await remove_idle_consumers(self._redis, ANSWERS, group, SILENT_LEASES * lease_ms)
            found: Any = await self._redis.xreadgroup(group, consumer, {ANSWERS: ">"}, count=count, block=block_ms)
            entries = found[0][1] if found else []
        return [Told(entry, str(fields[b"job_id"], "ascii"), fields[b"member"].decode()) for entry, fields in entries]

    async def note_early(self, job_id: str, content: bytes) -> None:
        """That the next action has begun."""
        await self._early(args=[job_id, content])

    async def close(self, job_id: str, fields: Mapping[str, bytes | str]) -> bool:
        """Close a job with these fields, unless it is closed."""
        pairs = [part for field in fields.items() for part in field]
        return bool(await self._close(args=[job_id, time(), *pairs]))

    async def forget_old(self) -> None:
        """Jobs that have expired need not be read any more, by whichever member has not."""
        await self._redis.xtrim(JOBS, minid=int((time() - self._ttl) * 1e3), approximate=False)

    async def overdue(self) -> list[str]:
        """The jobs that are open past their deadline."""
        found: Any = await self._redis.zrange(DEADLINES, "-inf", time(), byscore=True, offset=0, num=1_000)
        return [str(job_id, "ascii") for job_id in found]

    async def dealt_with(self, told: list[Told], answered_by_all: list[bytes]) -> None:
        """These answers need not be told again, and these jobs no member will read any more."""
        async with self._redis.pipeline() as transaction:
            transaction.xack(ANSWERS, POST_PROCESSORS, *[one.entry for one in told])
            transaction.xdel(ANSWERS, *[one.entry for one in told])
            if answered_by_all:
                transaction.xdel(JOBS, *answered_by_all)
            await transaction.execute()


def _entry(entry: bytes, fields: Fields, attempts: int = 1) -> Entry:
    return Entry(entry, str(fields[b"job_id"], "ascii"), fields[b"payload"], fields[b"traceparent"], attempts)


def _key(job_id: str) -> str:
    return f"microservice_horizontal:job:{job_id}"
