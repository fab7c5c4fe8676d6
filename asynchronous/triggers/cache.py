"""The cache trigger: predictors poll the cache for open jobs.

No predictor holds a job. So a killed predictor loses none, but several predictors do the same jobs, in no order, and an
idle one keeps polling.
"""

import asyncio
import random
from typing import Any

from asynchronous.jobs import NewJob
from asynchronous.schemas import Accepted
from asynchronous.settings import PredictorSettings
from asynchronous.triggers.unqueued_jobs import Predict, UnqueuedJobs
from common.jobs.redis_connection import REDIS_UNAVAILABLE
from common.service.background import add_background_loop
from common.service.problems import Problem
from common.service.service import Service

OPEN_JOBS = "asynchronous:cache:open"
POLL_SECONDS = 0.05
"""Between two polls of a cache that had no open job."""


class CacheTrigger(UnqueuedJobs):
    """Open jobs are a set; predictors take some of it at random."""

    async def submit(self, job_id: str, job: NewJob, max_open_jobs: int) -> Accepted:
        """Store a job; raises `Problem` 429 if `max_open_jobs` have not ended."""
        if await self._redis.scard(OPEN_JOBS) >= max_open_jobs:
            detail = f"{max_open_jobs} jobs are open (MAX_QUEUED_JOBS): try again later"
            raise Problem(429, detail, {"Retry-After": "1"})
        async with self._redis.pipeline() as transaction:
            await self.store(transaction, job_id, job)
            transaction.sadd(OPEN_JOBS, job_id)
            await transaction.execute()
        return Accepted(job_id=job_id)

    def consume(self, app: Service, predict: Predict, settings: PredictorSettings) -> None:
        """Process open jobs while the app runs."""

        async def poll() -> None:
            found: Any = await self._redis.srandmember(OPEN_JOBS, settings.max_batch_rows)
            jobs = []
            for job_id in [str(job_id, "ascii") for job_id in found]:
                payload: Any = await self._redis.hget(self.key(job_id), "payload")
                if payload is None:
                    await self._redis.srem(OPEN_JOBS, job_id)  # expired
                else:
                    jobs.append((job_id, payload))
            await asyncio.gather(*[self.process(job_id, payload, predict, settings) for job_id, payload in jobs])
            if not found:
                await asyncio.sleep(POLL_SECONDS * random.uniform(0.5, 1.5))

        add_background_loop(app, poll, "cache", unavailable=REDIS_UNAVAILABLE)
