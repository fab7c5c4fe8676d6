"""Delivery: brings results to other places than the client, a database and the webhooks that clients asked for.

It may be killed or away: what has ended meanwhile waits in the outbox for as long as results are kept. A receiver may
get a webhook twice (same `webhook-id`) and never a wrong one; the database has each job once.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from time import time
from uuid import uuid4

import httpx
from fastapi import FastAPI
from prometheus_client import Counter
from pydantic_core import to_json

from asynchronous.delivery.outbox import Due, Outbox
from asynchronous.delivery.results import ResultDatabase
from asynchronous.delivery.webhook_sender import Webhooks
from asynchronous.schemas import Job, to_job
from asynchronous.settings import DeliverySettings
from common.jobs.redis_connection import answers, connect
from common.service.background import repeat
from common.service.service import Service
from common.service.tracing import Trace, span_of

logger = logging.getLogger(__name__)

AT_ONCE = 100
WAIT_MS = 500
PAUSE_SECONDS = 0.25
"""Between two looks for webhooks that are due."""


def create_app(settings: DeliverySettings | None = None) -> FastAPI:
    """The delivery: `uvicorn asynchronous.delivery:create_app --factory`."""
    settings = settings or DeliverySettings.from_environment()
    app = Service("asynchronous-delivery", settings)
    redis = connect(app, settings.redis_url)
    app.add_check(lambda: answers(redis))
    delivery = Delivery(app, Outbox(redis, settings.result_ttl_seconds), settings)
    repeat(app, delivery.store, "results")
    if settings.webhook_secret:
        repeat(app, delivery.call_back, "webhooks")
    else:
        logger.warning("no WEBHOOK_SECRET is set: webhooks stay where they are, and results go to the database alone")
    return app


class Delivery:
    """Two works, side by side: one stores, one calls back."""

    def __init__(self, app: Service, outbox: Outbox, settings: DeliverySettings) -> None:
        self._outbox = outbox
        self._settings = settings
        self._webhooks = Webhooks(settings.webhook_secret, settings.webhook_allow_private)
        self._database = ResultDatabase(settings.results_database)
        self._client = httpx.AsyncClient(timeout=None, trust_env=False)  # `_post` has one
        self._name = f"{socket.gethostname()}-{uuid4()}"
        registry = app.metrics.registry
        self._stored = Counter("results_stored", "Results brought to the database.", registry=registry)
        self._delivered = Counter("webhooks", "Attempts at webhooks, by outcome.", ["outcome"], registry=registry)
        app.add_lifespan(self._opened)

    async def store(self) -> None:
        """One round: bring what has ended to the database."""
        await self._outbox.open()
        if finished := await self._outbox.finished(self._name, AT_ONCE, WAIT_MS):
            jobs = [to_job(job_id, fields) for _, job_id, fields in finished if fields]
            jobs = [job for job in jobs if job.ended]  # a dead letter that is done once more will end again
            await asyncio.to_thread(self._database.keep, jobs)
            await self._outbox.stored([entry for entry, _, _ in finished])
            self._stored.inc(len(jobs))

    async def call_back(self) -> None:
        """One round: make an attempt at each webhook that is due."""
        due = await self._outbox.due(AT_ONCE, 3 * self._settings.delivery_timeout_seconds)
        await asyncio.gather(*[self._deliver(one) for one in due])
        if not due:
            await asyncio.sleep(PAUSE_SECONDS)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        with closing(self._database):
            async with self._client:
                yield

    async def _deliver(self, due: Due) -> None:
        """One attempt; the next is due after 1, 2, 4, … seconds."""
        fields = await self._outbox.job(due.job_id)
        job = to_job(due.job_id, fields) if fields else None
        if not (job and job.ended):  # it has expired, or is done once more and will be due at its end
            await self._outbox.leave(due)
            return
        with span_of(fields.get(b"traceparent", b"")) as trace:
            failure = await self._post(fields[b"callback_url"].decode(), job, trace)
            is_last = failure is None or due.attempt >= self._settings.delivery_attempts
            await self._outbox.leave(due, None if is_last else time() + 2 ** (due.attempt - 1))
            self._delivered.labels("failed" if failure else "delivered").inc()
            logger.info("webhook of job %s: attempt %d: %s", due.job_id, due.attempt, failure or "delivered")

    async def _post(self, url: str, job: Job, trace: Trace) -> str | None:
        """None if the receiver took it, else why not; whatever it does, this ends in time."""
        seconds = self._settings.delivery_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._webhooks.post(self._client, url, *message(job), trace.traceparent)
        except TimeoutError:
            return f"no answer within {seconds:g} s"


def message(job: Job) -> tuple[str, bytes]:
    """The id and the body of a webhook, as Standard Webhooks has them; a job that ended twice has two ids."""
    ended = job.finished_at or datetime.now(UTC)
    body = {"type": f"job.{job.status}", "timestamp": ended.isoformat(), "data": job}
    return f"{job.job_id}.{int(ended.timestamp() * 1e3)}", to_json(body)
