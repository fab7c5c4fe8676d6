"""What has ended and is to be delivered: a stream for the result database, and each host's webhooks by due time.

Both are written in the step that ends a job, so no result is missed. If a delivery process is killed, another one does
its work again. All times are Redis's.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import to_json
from redis.asyncio import Redis

from common.jobs.lua_script import register_operation
from common.jobs.streams import claim_idle, ensure_group, remove_idle_consumers

STREAM, GROUP = "asynchronous:finished", "delivery"
UNDELIVERED = "asynchronous:undelivered"
"""The stream of results that the database did not take: {job_id, error}."""
IDLE_MS = 10_000
"""A delivery process that has not stored an entry for so long loses it to another."""

FinishedJob = tuple[bytes, str, dict[bytes, bytes]]
"""The entry in the stream, the job's id, and its fields: empty if it has expired."""


class DueWebhook(NamedTuple):
    """A job whose webhook is due; no other process attempts it until the lease ends. `claimed_at` is Redis's time."""

    job_id: str
    attempt: int
    lease: str
    claimed_at: float
    host: str


class Outbox:
    """Read by delivery processes; several share the work."""

    def __init__(self, redis: Redis, result_ttl_seconds: int, idle_ms: int = IDLE_MS) -> None:
        self._redis = redis
        self._ttl, self._idle_ms = result_ttl_seconds, idle_ms
        operation = partial(register_operation, redis, Path(__file__).with_name("outbox.lua"))
        self._acknowledge = operation("acknowledge")
        self._claim_due_webhooks = operation("claim_due_webhooks")
        self._record_attempt = operation("record_attempt")

    async def open(self) -> None:
        """Create the stream and its consumer group, unless they exist; remove processes that have exited."""
        await ensure_group(self._redis, STREAM, GROUP)
        await remove_idle_consumers(self._redis, STREAM, GROUP, 10 * self._idle_ms)

    async def read_finished(self, consumer: str, count: int, block_ms: int) -> list[FinishedJob]:
        """Up to `count` jobs that have ended; first those that another process has read and not acknowledged."""
        entries = await claim_idle(self._redis, STREAM, GROUP, consumer, self._idle_ms, count)
        if not entries:
            read: Any = await self._redis.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=count, block=block_ms)
            entries = read[0][1] if read else []
        ids = [str(fields[b"job_id"], "ascii") for _, fields in entries]
        return [(entry, job_id, await self.job(job_id)) for (entry, _), job_id in zip(entries, ids, strict=True)]

    async def acknowledge(self, stored: Sequence[FinishedJob]) -> None:
        """Remove entries that are in the result database, and note with their jobs when that was."""
        entries = [
            {"entry": entry, "job_id": job_id, "finished_at": fields.get(b"finished_at", b"")}
            for entry, job_id, fields in stored
        ]
        await self._acknowledge(args=[to_json({"stored": entries})])

    async def tries(self, entry: bytes) -> int:
        """How often this entry was read."""
        held = await self._redis.xpending_range(STREAM, GROUP, entry, entry, 1)
        return int(held[0]["times_delivered"]) if held else 0

    async def reject(self, entry: bytes, job_id: str, error: str) -> None:
        """Move an entry that cannot be delivered to the stream of undelivered results, with its error."""
        async with self._redis.pipeline() as transaction:
            transaction.xadd(UNDELIVERED, {"job_id": job_id, "error": error}, maxlen=10_000)
            transaction.xack(STREAM, GROUP, entry)
            transaction.xdel(STREAM, entry)
            await transaction.execute()

    async def job(self, job_id: str) -> dict[bytes, bytes]:
        """The fields of a job; empty if it does not exist or has expired."""
        return await self._redis.hgetall(f"asynchronous:job:{job_id}")  # type: ignore[return-value]

    async def claim_due_webhooks(
        self, places: int, places_per_host: int, busy: Mapping[str, int], lease_seconds: float
    ) -> list[DueWebhook]:
        """Up to `places` jobs whose webhook is due; of each host up to `places_per_host` less those that are `busy`.

        For `lease_seconds` no other process claims them.
        """
        limits = {"places": places, "places_per_host": places_per_host, "busy": busy}
        call = limits | {"lease": lease_seconds, "result_ttl": self._ttl}
        claimed: list[Any] = await self._claim_due_webhooks(args=[to_json(call)])
        return [
            DueWebhook(str(job_id, "ascii"), int(attempt), str(lease, "ascii"), float(now), str(host, "utf-8"))
            for job_id, attempt, lease, now, host in claimed
        ]

    async def record_attempt(self, due: DueWebhook, *, sent: bool = False, retry_in: float | None = None) -> None:
        """Note that the receiver took it (`sent`), or schedule the next attempt; without `retry_in` there is none."""
        call = {"job_id": due.job_id, "host": due.host, "lease": due.lease, "sent": sent}
        await self._record_attempt(args=[to_json(call if retry_in is None else call | {"retry_in": retry_in})])
