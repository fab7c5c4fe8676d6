"""The queue. Single Redis commands are here; what must be one step is in `queue.lua`.

Jobs to do are entries of a Redis Stream, read by one consumer group. An entry stays pending until its result is
written; writing, acknowledging and deleting are one step. A predictor renews the leases of the entries that it holds;
another predictor claims an entry whose lease has expired. A result is accepted only from the predictor that holds the
entry, so a predictor that comes back from a long pause changes nothing.

If a process is killed at any instant, its jobs are done again; none is lost. Redis itself must keep what it has
acknowledged (`appendonly yes`) and must not evict (`noeviction`). All times are Redis's.
"""

from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

from pydantic_core import to_json
from redis.asyncio import Redis

from asynchronous.jobs import ClaimedJob, IdempotencyConflict, NewJob, Outcome, QueueFull
from common.jobs.lua_script import register_operation
from common.jobs.streams import claim_idle, ensure_group, remove_idle_consumers

STREAM, GROUP = "asynchronous:jobs", "predictors"
DEAD_LETTERS, PREDICTORS = "asynchronous:dead-letters", "asynchronous:predictors"
EVENTS = "asynchronous:events"
"""The channel of changes: lines with a job's id and its new status."""

ADDING = ("submit", "retry_dead_letter")
"""The operations of `queue.lua` that Redis refuses when its memory is full."""
FREEING = ("start_jobs", "renew_leases", "complete_jobs", "enqueue_due_retries", "cancel", "list_dead_letters")

Fields = dict[bytes, bytes]


class JobQueue:
    """The queue, for the proxy and the predictors. The methods are in the order of a job's life."""

    def __init__(self, redis: Redis, job_ttl_seconds: int, result_ttl_seconds: int) -> None:
        self._redis = redis
        self._job_ttl, self._result_ttl = job_ttl_seconds, result_ttl_seconds
        file = Path(__file__).with_name("queue.lua")
        self._scripts = {
            name: register_operation(redis, file, name, frees_memory=name in FREEING) for name in ADDING + FREEING
        }

    async def _call(self, operation: str, *payload: bytes, **arguments: object) -> Any:
        return await self._scripts[operation](args=[to_json(arguments), *payload])

    async def open(self) -> None:
        """Create the stream and its consumer group, unless they exist."""
        await ensure_group(self._redis, STREAM, GROUP)

    async def submit(self, job_id: str, job: NewJob, max_open_jobs: int) -> str:
        """Store a job and enqueue it. Returns its id, or the id of the job with the same Idempotency-Key and digest.

        May be repeated with the same `job_id` if no reply came. Raises `QueueFull`, `IdempotencyConflict`.
        """
        fields = job._asdict() | {"job_id": job_id, "max_open_jobs": max_open_jobs, "job_ttl": self._job_ttl}
        found = str(await self._call("submit", fields.pop("payload"), **fields), "ascii")
        if found == "full":
            raise QueueFull
        if found == "conflict":
            raise IdempotencyConflict
        return found

    async def get(self, job_id: str) -> Fields:
        """The fields of a job; empty if it does not exist or has expired."""
        return await self._redis.hgetall(f"asynchronous:job:{job_id}")  # type: ignore[return-value]

    async def claim(self, consumer: str, count: int, block_ms: int) -> list[ClaimedJob]:
        """Up to `count` new jobs; waits up to `block_ms` for the first."""
        found: Any = await self._redis.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=count, block=block_ms)
        return await self._start(found[0][1]) if found else []

    async def claim_expired(self, consumer: str, count: int, lease_ms: int) -> list[ClaimedJob]:
        """Up to `count` jobs of predictors that have not renewed their lease for so long."""
        return await self._start(await claim_idle(self._redis, STREAM, GROUP, consumer, lease_ms, count))

    async def _start(self, entries: Sequence[tuple[bytes, Fields]]) -> list[ClaimedJob]:
        if not entries:
            return []
        read = [{"entry": entry} | fields for entry, fields in entries]  # each has job_id and ordering_key
        started = await self._call("start_jobs", entries=read, job_ttl=self._job_ttl, call_id=new_call_id())
        return [
            ClaimedJob(entry, str(job_id, "ascii"), int(attempts), *job) for entry, job_id, attempts, *job in started
        ]

    async def renew_leases(self, consumer: str, entries: Sequence[bytes]) -> set[bytes]:
        """Renew the leases of these entries. Returns the entries that the consumer has lost."""
        return set(await self._call("renew_leases", consumer=consumer, entries=entries))

    async def complete_jobs(self, consumer: str, outcomes: Sequence[Outcome]) -> set[bytes]:
        """Write the outcomes of these jobs, all in one step. Returns the entries that the consumer still held."""
        if not outcomes:
            return set()
        written = [o._asdict() | {"job": None, "entry": o.job.entry, "job_id": o.job.job_id} for o in outcomes]
        ttls = {"job_ttl": self._job_ttl, "result_ttl": self._result_ttl}
        return set(await self._call("complete_jobs", consumer=consumer, outcomes=written, **ttls))

    async def enqueue_due_retries(self, consumer: str) -> int:
        """Put failed jobs whose next attempt is due back into the stream. Returns the number of open jobs."""
        return int(await self._call("enqueue_due_retries", consumer=consumer))

    async def cancel(self, job_id: str, error: str) -> str | None:
        """End a job that has not started. Returns `cancelled`, or the job's status, or None if there is no such job."""
        ids = {"job_id": job_id, "call_id": new_call_id()}
        found = await self._call("cancel", error=error, result_ttl=self._result_ttl, **ids)
        return found and str(found, "ascii")

    async def dead_letters(self, count: int) -> list[tuple[bytes, Fields]]:
        """The newest `count` dead letters, newest first, as pairs (entry id, fields)."""
        found = await self._call("list_dead_letters", count=count, job_ttl=self._job_ttl)
        return [(entry, dict(zip(flat[::2], flat[1::2], strict=True))) for entry, flat in found]

    async def retry_dead_letter(self, job_id: str) -> bool:
        """Enqueue the job of a dead letter again. Returns False if there is no such dead letter."""
        ids = {"job_id": job_id, "call_id": new_call_id()}
        return await self._call("retry_dead_letter", job_ttl=self._job_ttl, **ids) is not None

    async def remove_idle_consumers(self, idle_ms: int) -> None:
        """Remove predictors that hold nothing and have been idle for so long from the consumer group."""
        await remove_idle_consumers(self._redis, STREAM, GROUP, idle_ms)


def new_call_id() -> str:
    """Names one call of an operation, however often it is sent."""
    return token_hex(4)
