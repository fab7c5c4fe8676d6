"""The two background loops of the delivery: one stores results in the database, one sends webhooks."""

import asyncio
import logging
import socket
from collections import Counter as Counting
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
from prometheus_client import CollectorRegistry, Counter
from pydantic_core import to_json

from asynchronous.delivery.outbox import DueWebhook, FinishedJob, Outbox
from asynchronous.delivery.results import ResultDatabase
from asynchronous.delivery.webhook_sender import WebhookMessage, WebhookSender, trusted_certificates
from asynchronous.schemas import Job, to_job
from asynchronous.settings import DeliverySettings
from common.jobs.redis_connection import REDIS_UNAVAILABLE
from common.telemetry.tracing import span_of

logger = logging.getLogger(__name__)

BATCH_SIZE = 100
WAIT_MS = 500
MAX_TRIES = 3
"""A result that the database rejects is tried again, whenever its entry has been idle; the others go on."""
PAUSE_SECONDS = 0.25
"""The longest time between two polls for due webhooks."""
PLACES, PLACES_PER_HOST = 512, 8
"""Webhooks that are sent at the same time: by this process, and to one host. So a host that hangs delays no other."""


class ResultSender:
    """Stores ended jobs in the result database."""

    def __init__(self, outbox: Outbox, database: ResultDatabase, registry: CollectorRegistry) -> None:
        self._outbox = outbox
        self._database = database
        self._consumer = f"{socket.gethostname()}-{uuid4()}"
        self._stored = Counter("results_stored", "Results stored in the database.", registry=registry)
        self._rejected = Counter("results_rejected", "Results that the database did not take.", registry=registry)

    async def tick(self) -> None:
        """Store what has ended."""
        await self._outbox.open()
        if finished := await self._outbox.read_finished(self._consumer, BATCH_SIZE, WAIT_MS):
            jobs, odd = to_jobs(finished)
            odd |= await asyncio.to_thread(self._database.upsert, jobs)
            if stored := [one for one in finished if one[1] not in odd]:
                await self._outbox.acknowledge(stored)
            self._stored.inc(sum(job.job_id not in odd for job in jobs))
            for entry, job_id, _ in finished:
                if job_id in odd and await self._outbox.tries(entry) >= MAX_TRIES:
                    await self._reject(entry, job_id, odd[job_id])

    async def _reject(self, entry: bytes, job_id: str, error: str) -> None:
        await self._outbox.reject(entry, job_id, error)
        self._rejected.inc()
        logger.error("result of job %s: not delivered after %d tries: %s", job_id, MAX_TRIES, error)

    @asynccontextmanager
    async def keep_open(self) -> AsyncIterator[None]:
        """Close the database at shutdown."""
        with self._database.keep_open():
            yield


class WebhookDelivery:
    """Sends the webhooks that are due."""

    def __init__(
        self, outbox: Outbox, sender: WebhookSender, settings: DeliverySettings, registry: CollectorRegistry
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._settings = settings
        self._certificates = trusted_certificates()
        self._in_progress: dict[asyncio.Task[None], str] = {}  # the host of each attempt
        self._attempts = Counter("webhooks", "Attempts at webhooks, by outcome.", ["outcome"], registry=registry)

    async def tick(self) -> None:
        """Begin an attempt at each webhook that is due and whose host has a free place."""
        lease_seconds = 3 * self._settings.delivery_timeout_seconds
        free, busy = PLACES - len(self._in_progress), Counting(self._in_progress.values())
        due = await self._outbox.claim_due_webhooks(free, PLACES_PER_HOST, busy, lease_seconds)
        for one in due:
            self._in_progress[asyncio.create_task(self._attempt(one))] = one.host
        pause = asyncio.create_task(asyncio.sleep(PAUSE_SECONDS))
        ended, _ = await asyncio.wait([pause, *self._in_progress], return_when=asyncio.FIRST_COMPLETED)
        pause.cancel()
        for task in ended:
            self._in_progress.pop(task, None)

    @asynccontextmanager
    async def keep_open(self) -> AsyncIterator[None]:
        """Complete what has begun and close the connections at shutdown."""
        no_limits = httpx.Limits(max_connections=None)  # PLACES is the limit, and `_post` has a timeout
        async with httpx.AsyncClient(
            timeout=None, trust_env=False, limits=no_limits, verify=self._certificates
        ) as self._client:
            yield
            await asyncio.gather(*self._in_progress)

    async def _attempt(self, due: DueWebhook) -> None:
        """An attempt whose outcome Redis does not take is made again when its lease has ended."""
        try:
            await self._deliver(due)
        except REDIS_UNAVAILABLE as error:
            logger.warning("webhook of job %s: unavailable: %s", due.job_id, error)
        except Exception:
            logger.exception("webhook of job %s: attempt %d failed", due.job_id, due.attempt)

    async def _deliver(self, due: DueWebhook) -> None:
        """One attempt; the next is due after 1, 2, 4, … seconds."""
        fields = await self._outbox.job(due.job_id)
        job = to_job(due.job_id, fields) if fields else None
        if not (job and job.ended):  # expired, or a dead letter that is retried: its end makes it due again
            await self._outbox.record_attempt(due)
            return
        with span_of(fields.get(b"traceparent", b"")) as trace:
            message = to_message(job, due, trace.traceparent)
            failure = await self._post(fields[b"callback_url"].decode(), message)
            is_last = failure is None or due.attempt >= self._settings.delivery_attempts
            retry_in = None if is_last else 2.0 ** (due.attempt - 1)
            await self._outbox.record_attempt(due, sent=failure is None, retry_in=retry_in)
            self._attempts.labels("failed" if failure else "delivered").inc()
            logger.info("webhook of job %s: attempt %d: %s", due.job_id, due.attempt, failure or "delivered")

    async def _post(self, url: str, message: WebhookMessage) -> str | None:
        """None if the receiver took it, else why not; whatever the receiver does, this returns in time."""
        seconds = self._settings.delivery_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._sender.post(self._client, url, message)
        except TimeoutError:
            return f"no answer within {seconds:g} s"


def to_jobs(finished: Sequence[FinishedJob]) -> tuple[list[Job], dict[str, str]]:
    """The jobs to deliver, and the errors of those that cannot be read, by id.

    Skips those that have expired, and dead letters that are retried: they will end again.
    """
    jobs, odd = [], {}
    for _, job_id, fields in finished:
        try:
            job = to_job(job_id, fields) if fields else None
        except (ValueError, KeyError) as error:
            odd[job_id] = f"{type(error).__name__}: {error}"
            continue
        if job and job.status == "done" and job.prediction is None:
            odd[job_id] = job.error or "no prediction"
        elif job and job.ended:
            jobs.append(job)
    return jobs, odd


def to_message(job: Job, due: DueWebhook, traceparent: str) -> WebhookMessage:
    """The webhook of an ended job, as Standard Webhooks defines it; a job that ended twice has two ids."""
    assert job.finished_at is not None
    data = job.model_dump(exclude={"delivered"})  # so that it is the same in each attempt
    body = to_json({"type": f"job.{job.status}", "timestamp": job.finished_at.isoformat(), "data": data})
    message_id = f"{job.job_id}.{int(job.finished_at.timestamp() * 1e3)}"
    return WebhookMessage(message_id, due.claimed_at, body, traceparent)
