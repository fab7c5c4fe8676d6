"""Jobs that every member reads. Single Redis commands are here; what must be one step is in `stream.lua`.

A job is one entry of a stream that each member reads through a consumer group of its own, so no member waits for
another. An answer is stored under (job, member) and the first one stays, so it does no harm if a job is done twice.
Answers are a stream too, for the post-processor. All times are Redis's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import to_json
from redis.asyncio import Redis

from common.jobs.lua_script import register_operation
from common.jobs.streams import claim_idle, ensure_group, remove_idle_consumers, renew_leases

JOBS, ANSWERS = "microservice_horizontal:jobs", "microservice_horizontal:answers"
EVENTS = "microservice_horizontal:events"
"""The channel of changes: lines with a job's id and what has changed."""
POST_PROCESSORS = "post-processors"
IDLE_LEASES = 3
"""A process that holds nothing and has been idle for so many leases is removed from its consumer group."""
MAX_OVERDUE = 1_000

FREEING = ("store_answers", "record_action", "close", "acknowledge", "list_overdue", "remove_expired")
"""The operations of `stream.lua` that also run when memory is full: all but `submit`."""

Fields = dict[bytes, bytes]


class ClaimedJob(NamedTuple):
    """A job that a process of a member works on; `attempts` counts the processes of this member that started it."""

    entry: bytes
    job_id: str
    payload: bytes
    traceparent: bytes
    attempts: int = 1


class NewAnswer(NamedTuple):
    """A member has answered a job."""

    entry: bytes
    job_id: str
    member: str


class JobStream:
    """The jobs, for proxy, members and post-processor. The methods are in the order of a job's life."""

    def __init__(self, redis: Redis, job_ttl_seconds: int) -> None:
        self._redis = redis
        self._ttl = job_ttl_seconds
        file = Path(__file__).with_name("stream.lua")
        self._scripts = {
            name: register_operation(redis, file, name, frees_memory=name in FREEING) for name in ("submit", *FREEING)
        }

    async def _call(self, operation: str, *payload: bytes, **arguments: object) -> Any:
        return await self._scripts[operation](args=[to_json(arguments), *payload])

    # The proxy

    async def submit(
        self, job_id: str, payload: bytes, deadline_seconds: float, traceparent: str, max_open_jobs: int
    ) -> bool:
        """Store a job for all members. Returns False if `max_open_jobs` are open.

        The job is closed after `deadline_seconds`. May be repeated with the same `job_id` if no reply came.
        """
        limits = {"deadline_seconds": deadline_seconds, "max_open_jobs": max_open_jobs, "job_ttl": self._ttl}
        return bool(await self._call("submit", payload, job_id=job_id, traceparent=traceparent, **limits))

    async def get(self, job_id: str) -> Fields:
        """The fields of a job; empty if it does not exist or has expired."""
        return await self._redis.hgetall(f"microservice_horizontal:job:{job_id}")  # type: ignore[return-value]

    # The members

    async def claim(self, member: str, consumer: str, count: int, block_ms: int) -> list[ClaimedJob]:
        """Up to `count` jobs that are new to this member; waits up to `block_ms` for the first."""
        await ensure_group(self._redis, JOBS, member)
        found: Any = await self._redis.xreadgroup(member, consumer, {JOBS: ">"}, count=count, block=block_ms)
        return [_to_claimed_job(entry, fields) for entry, fields in found[0][1]] if found else []

    async def claim_expired(self, member: str, consumer: str, lease_ms: int) -> list[ClaimedJob]:
        """One job of another process of this member, which has not renewed its lease for so long.

        If there is none, idle processes are removed from the consumer group.
        """
        await ensure_group(self._redis, JOBS, member)
        claimed = []
        for entry, fields in await claim_idle(self._redis, JOBS, member, consumer, lease_ms, 1):
            for held in await self._redis.xpending_range(JOBS, member, entry, entry, 1):  # empty: it was just answered
                claimed.append(_to_claimed_job(entry, fields, int(held["times_delivered"])))
        if not claimed:
            await remove_idle_consumers(self._redis, JOBS, member, IDLE_LEASES * lease_ms)
        return claimed

    async def renew_leases(self, member: str, consumer: str, entries: Sequence[bytes]) -> set[bytes]:
        """Renew the leases of these entries. Returns the entries that another process has claimed."""
        return await renew_leases(self._redis, JOBS, member, consumer, entries)

    async def store_answers(self, member: str, answers: Mapping[ClaimedJob, bytes]) -> None:
        """Store this member's answers, acknowledge the jobs, and notify the post-processor, all in one step."""
        written = [{"entry": job.entry, "job_id": job.job_id, "content": content} for job, content in answers.items()]
        if written:
            await self._call("store_answers", member=member, answers=written, job_ttl=self._ttl)

    # The post-processor

    async def claim_answers(self, consumer: str, count: int, block_ms: int, lease_ms: int) -> list[NewAnswer]:
        """Up to `count` answers: those whose lease has expired first, then new ones; waits up to `block_ms`."""
        group = POST_PROCESSORS
        await ensure_group(self._redis, ANSWERS, group)
        entries = await claim_idle(self._redis, ANSWERS, group, consumer, lease_ms, count)
        if not entries:
            await remove_idle_consumers(self._redis, ANSWERS, group, IDLE_LEASES * lease_ms)
            found: Any = await self._redis.xreadgroup(group, consumer, {ANSWERS: ">"}, count=count, block=block_ms)
            entries = found[0][1] if found else []
        return [
            NewAnswer(entry, str(fields[b"job_id"], "ascii"), fields[b"member"].decode()) for entry, fields in entries
        ]

    async def record_action(self, job_id: str, content: bytes) -> None:
        """Record that the next action has begun; the first record stays."""
        await self._call("record_action", job_id=job_id, content=content)

    async def close(self, job_id: str, fields: Mapping[str, bytes | str]) -> bool:
        """Close a job with these fields. Returns False if it is closed already."""
        return bool(await self._call("close", job_id=job_id, fields=fields))

    async def acknowledge(self, answers: Sequence[NewAnswer], answered_jobs: Sequence[bytes]) -> None:
        """These answers are processed; these entries of jobs are answered by all members."""
        await self._call("acknowledge", answers=[answer.entry for answer in answers], jobs=answered_jobs)

    async def list_overdue(self) -> list[str]:
        """The ids of open jobs whose deadline has passed."""
        return [str(job_id, "ascii") for job_id in await self._call("list_overdue", count=MAX_OVERDUE)]

    async def remove_expired(self) -> None:
        """Remove the entries of jobs that have expired, even if a member has not read them."""
        await self._call("remove_expired", job_ttl=self._ttl)


def _to_claimed_job(entry: bytes, fields: Fields, attempts: int = 1) -> ClaimedJob:
    return ClaimedJob(entry, str(fields[b"job_id"], "ascii"), fields[b"payload"], fields[b"traceparent"], attempts)
