"""The Pub/Sub trigger: predictors subscribe, and each message reaches those that are subscribed at that moment.

Delivery is at most once: a job that no predictor received, or whose predictor was killed, stays queued until it
expires.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asynchronous.jobs import NewJob
from asynchronous.schemas import Accepted
from asynchronous.settings import PredictorSettings
from asynchronous.triggers.unqueued_jobs import Predict, UnqueuedJobs
from common.jobs.redis_connection import REDIS_UNAVAILABLE
from common.service.background import add_background_loop
from common.service.service import Service

CHANNEL = "asynchronous:pubsub:jobs"
LISTEN_SECONDS = 0.5


class PubSubTrigger(UnqueuedJobs):
    """Ids of jobs are published; the predictor that sets `started_at` first does the job."""

    async def submit(self, job_id: str, job: NewJob, max_open_jobs: int) -> Accepted:
        """Store a job and publish its id. The number of open jobs is not limited."""
        async with self._redis.pipeline() as transaction:
            await self.store(transaction, job_id, job)
            transaction.publish(CHANNEL, job_id)
            await transaction.execute()
        return Accepted(job_id=job_id, delivery="at-most-once")

    def consume(self, app: Service, predict: Predict, settings: PredictorSettings) -> None:
        """Process published jobs while the app runs."""
        running: set[asyncio.Task[None]] = set()
        channel = self._redis.pubsub(ignore_subscribe_messages=True)

        async def process_once(job_id: str) -> None:
            if await self._redis.hsetnx(self.key(job_id), "started_at", await self.now()):
                await self._redis.hset(self.key(job_id), "status", "running")
                payload: Any = await self._redis.hget(self.key(job_id), "payload")
                await self.process(job_id, payload, predict, settings)

        async def receive() -> None:
            if not channel.subscribed:
                await channel.subscribe(CHANNEL)
            if message := await channel.get_message(timeout=LISTEN_SECONDS):
                task = asyncio.create_task(process_once(str(message["data"], "ascii")))
                running.add(task)
                task.add_done_callback(running.discard)

        @asynccontextmanager
        async def subscription() -> AsyncIterator[None]:
            async with channel:
                yield
                await asyncio.gather(*running, return_exceptions=True)

        app.add_lifespan(subscription)
        add_background_loop(app, receive, "Pub/Sub", unavailable=REDIS_UNAVAILABLE)
