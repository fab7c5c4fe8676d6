"""What both triggers share: jobs as hashes that expire, first written by the proxy, then by a predictor.

The hashes are the queue's, so a job is fetched in the same way. There are no retries, no dead letters, no order and no
Idempotency-Key.
"""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Protocol

from redis.asyncio import Redis

from asynchronous.jobs import NewJob, describe_error
from asynchronous.schemas import Accepted
from asynchronous.settings import PredictorSettings
from common.service.problems import Problem

FINISH = """#!lua flags=allow-oom
-- ARGV: id, ttl, status, field, its content. The first result stays. The result of a job that has expired is dropped.
local id, ttl, status, field, content = unpack(ARGV)
local job, time = 'asynchronous:job:' .. id, redis.call('TIME')
redis.call('SREM', 'asynchronous:cache:open', id)
local before = redis.call('HGET', job, 'status')
if before ~= 'queued' and before ~= 'running' then return end
redis.call('HSET', job, 'status', status, field, content, 'finished_at', time[1] + time[2] / 1e6, 'attempts', 1)
redis.call('EXPIRE', job, ttl)
redis.call('PUBLISH', 'asynchronous:events', id .. ' ' .. status)
"""

Predict = Callable[[bytes, float], Awaitable[bytes]]
"""A payload and a deadline in, a prediction in JSON out. A type, so that the proxy does not import the model's code."""


class Trigger(Protocol):
    """How a job gets from the proxy to a predictor."""

    async def submit(self, job_id: str, job: NewJob, max_open_jobs: int) -> Accepted:
        """Store a job and have it started; raises `Problem` 422, 429."""
        ...


class UnqueuedJobs:
    """Stores jobs and writes their results."""

    def __init__(self, redis: Redis, job_ttl_seconds: int, result_ttl_seconds: int) -> None:
        self._redis = redis
        self._job_ttl, self._result_ttl = job_ttl_seconds, result_ttl_seconds
        self._finish = redis.register_script(FINISH)

    def key(self, job_id: str) -> str:
        """Where a job is."""
        return f"asynchronous:job:{job_id}"

    async def now(self) -> float:
        """Redis's clock, in seconds since the epoch."""
        seconds, microseconds = await self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    async def store(self, transaction: Any, job_id: str, job: NewJob) -> None:
        """Add the commands that store a job to a transaction; raises `Problem` 422 for what only the queue supports."""
        if job.idempotency_key or job.ordering_key or job.callback_url:
            raise Problem(422, "Idempotency-Key, ordering_key and callback_url need TRIGGER=queue: leave them out")
        fields = {"status": "queued", "payload": job.payload, "traceparent": job.traceparent}
        transaction.hset(self.key(job_id), mapping=fields | {"submitted_at": await self.now()})
        transaction.expire(self.key(job_id), self._job_ttl)

    async def process(self, job_id: str, payload: bytes, predict: Predict, settings: PredictorSettings) -> None:
        """Predict a job and write its result; the first result stays."""
        try:
            result = "done", "prediction", await predict(payload, monotonic() + settings.job_timeout_seconds)
        except Exception as error:
            result = "failed", "error", describe_error(error)
        await self._finish(args=[job_id, self._result_ttl, *result])
