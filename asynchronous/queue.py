"""The queue. Every Redis command of it is here or, where several must be one step, in `scripts.py`.

A job is a hash. What is to be done is a stream, read by one consumer group: an entry stays pending with the predictor
that read it until its result is written, and writing, acknowledging and deleting are one step. A predictor renews the
lease on what it holds; what nobody has renewed for a while another predictor claims. A result is taken only from the
predictor that holds the entry, so one that comes back from a long pause changes nothing.

Any process may be killed at any instant: a job is then done again, and never lost. Redis itself must keep what it
acknowledged (`appendonly yes`) and must not evict (`noeviction`).
"""

from collections.abc import Mapping, Sequence
from secrets import token_hex
from time import time
from typing import Any, Literal, NamedTuple

from redis.asyncio import Redis

from asynchronous import scripts
from common.jobs.redis_connection import claim_idle, forget_silent, make_group

STREAM, GROUP = "asynchronous:jobs", "predictors"
DEAD_LETTERS = "asynchronous:dead-letters"
EVENTS = "asynchronous:events"
"""The channel of changes: lines of a job's id and its new state."""

Fields = dict[bytes, bytes]
Values = Mapping[str, str | bytes | float]
Kind = Literal["done", "retry", "dead"]


class QueueFull(Exception):
    """There are as many jobs as may be open at a time."""


class OtherBody(Exception):
    """This Idempotency-Key came before, with another body."""


class Claimed(NamedTuple):
    """A job that a predictor holds, by its entry in the stream; `attempts` counts the one that now begins."""

    entry: bytes
    job_id: str
    attempts: int
    payload: bytes
    traceparent: bytes


class Outcome(NamedTuple):
    """What came of a claimed job: done with a prediction in JSON, or dead or to be retried with an error."""

    job: Claimed
    kind: Kind
    content: bytes | str
    attempts: int
    retry_at: float = 0.0


class Broker:
    """The queue, for those who hand jobs in and those who do them. Times are seconds since the epoch."""

    def __init__(self, redis: Redis, job_ttl_seconds: int, result_ttl_seconds: int) -> None:
        self._redis = redis
        self._job_ttl, self._result_ttl = job_ttl_seconds, result_ttl_seconds
        script = redis.register_script
        self._submit, self._cancel, self._revive = map(script, (scripts.SUBMIT, scripts.CANCEL, scripts.REVIVE))
        self._begin, self._renew, self._settle = map(script, (scripts.BEGIN, scripts.RENEW, scripts.SETTLE))
        self._release = script(scripts.RELEASE)

    # Handing in, looking, calling off

    async def submit(
        self,
        job_id: str,
        fields: Values,
        most: int,
        ordering_key: str = "",
        idempotency_key: str = "",
        digest: str = "",
    ) -> str:
        """Keep a job and have it done; gives its id, or that of the job with the same Idempotency-Key and digest.

        `most`: so many jobs may be open. Whether an answer came or not, it may be called again with the same `job_id`.
        Raises `QueueFull`, `OtherBody`.
        """
        pairs = [part for field in fields.items() for part in field]
        arguments = [job_id, time(), most, digest, idempotency_key, self._job_ttl, ordering_key, *pairs]
        found = str(await self._submit(args=arguments), "ascii")
        if found == "full":
            raise QueueFull
        if found == "conflict":
            raise OtherBody
        return found

    async def get(self, job_id: str) -> Fields:
        """The fields of a job; none where there is no such job, or no more."""
        return await self._redis.hgetall(f"asynchronous:job:{job_id}")  # type: ignore[return-value]

    async def cancel(self, job_id: str, error: str) -> str | None:
        """Call off a job that has not begun: `cancelled`; else its state, or None where there is no such job."""
        found = await self._cancel(args=[job_id, error, time(), self._result_ttl, _new_call()])
        return found and str(found, "ascii")

    # Doing

    async def open(self) -> None:
        """Make the stream and its group, unless they are there."""
        await make_group(self._redis, STREAM, GROUP)

    async def claim(self, consumer: str, count: int, block_ms: int) -> list[Claimed]:
        """Up to `count` jobs that nobody has begun; waits for the first as long as `block_ms`."""
        found: Any = await self._redis.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=count, block=block_ms)
        return await self._begun(found[0][1]) if found else []

    async def recover(self, consumer: str, count: int, lease_ms: int) -> list[Claimed]:
        """Up to `count` jobs of predictors that have been silent for longer than their lease."""
        return await self._begun(await claim_idle(self._redis, STREAM, GROUP, consumer, lease_ms, count))

    async def renew(self, consumer: str, entries: Sequence[bytes]) -> set[bytes]:
        """Say that these are still worked on; gives those that another predictor has taken meanwhile."""
        return set(await self._renew(args=[consumer, *entries])) if entries else set()

    async def settle(self, consumer: str, outcomes: Sequence[Outcome]) -> set[bytes]:
        """Write what came of these jobs, all in one step; gives the entries that were still ours."""
        if not outcomes:
            return set()
        parts = [(o.job.entry, o.job.job_id, o.attempts, o.kind, o.content, o.retry_at) for o in outcomes]
        flat = [part for outcome in parts for part in outcome]
        return set(await self._settle(args=[consumer, time(), self._result_ttl, self._job_ttl, *flat]))

    async def release_due(self) -> int:
        """Put what was to be retried by now back into the stream; gives how many jobs have not ended."""
        return int(await self._release(args=[time()]))

    async def forget_dead(self, silent_ms: int) -> None:
        """Strike predictors that hold nothing and have been silent for so long off the group's list."""
        await forget_silent(self._redis, STREAM, GROUP, silent_ms)

    async def _begun(self, entries: Sequence[tuple[bytes, Fields]]) -> list[Claimed]:
        """Those of them that are to be done."""
        if not entries:
            return []
        parts = [part for entry, fields in entries for part in (entry, fields[b"job_id"], fields[b"ordering_key"])]
        begun = await self._begin(args=[time(), self._job_ttl, _new_call(), *parts])
        return [Claimed(entry, str(job_id, "ascii"), int(tries), *more) for entry, job_id, tries, *more in begun]

    # Dead letters

    async def dead_letters(self, count: int) -> list[tuple[bytes, Fields]]:
        """The newest `count` of them, newest first, each with its place in the stream."""
        oldest = int((time() - self._job_ttl) * 1e3)  # of those before, the job has expired
        return await self._redis.xrevrange(DEAD_LETTERS, min=oldest, count=count)  # type: ignore[return-value]

    async def revive(self, job_id: str) -> bool:
        """Have a dead letter's job done once more; False where there is no such dead letter."""
        return await self._revive(args=[job_id, time(), self._job_ttl, _new_call()]) is not None


def _new_call() -> str:
    """A name for one call of a script, however often it is sent."""
    return token_hex(4)
