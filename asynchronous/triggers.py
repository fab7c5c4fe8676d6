"""The two other ways to have a job begun, for comparison: by a cache that predictors look into, and by Pub/Sub.

Both leave the job where the queue has it, so it is looked up in the same way. What they do not promise:

- cache: predictors look for open jobs on a clock, and nobody holds any: nothing is lost when a predictor is killed, but
  several predictors do the same jobs, in no order, and an idle one asks over and over.
- Pub/Sub: whoever is subscribed hears of a job, once. A job that nobody heard of, or whose predictor was killed, stays
  queued until it expires: at most once.

Neither retries, has dead letters, keeps an order, or knows an Idempotency-Key.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic, time
from typing import Any, Protocol

from redis.asyncio import Redis

from asynchronous.queue import Values
from asynchronous.schemas import Accepted
from asynchronous.settings import PredictorSettings
from common.service.background import repeat
from common.service.problems import Problem
from common.service.service import Service

OPEN_JOBS, CHANNEL = "asynchronous:cache:open", "asynchronous:pubsub:jobs"
LOOK_SECONDS = 0.05
"""Between two looks into a cache in which nothing was open."""
LISTEN_SECONDS = 0.5

WRITE = """#!lua flags=allow-oom
-- ARGV: id, time, ttl, status, field, its content. The first result stays; of a job that has expired none is kept.
local id, now, ttl, status, field, content = unpack(ARGV)
local job = 'asynchronous:job:' .. id
redis.call('SREM', 'asynchronous:cache:open', id)
local before = redis.call('HGET', job, 'status')
if before ~= 'queued' and before ~= 'running' then return end
redis.call('HSET', job, 'status', status, field, content, 'finished_at', now, 'attempts', 1)
redis.call('EXPIRE', job, ttl)
redis.call('PUBLISH', 'asynchronous:events', id .. ' ' .. status)
"""

Read = Callable[[bytes, float], Awaitable[bytes]]
"""A payload and a deadline in, a digit in JSON out; no import of what holds a model, which the proxy does without."""


class Trigger(Protocol):
    """How a job gets from the proxy to a predictor."""

    async def submit(self, job_id: str, fields: Values, most: int) -> Accepted:
        """Keep a job and have it begun; raises `Problem` 429."""
        ...


def _queued(fields: Values) -> Any:
    return {"status": "queued", **fields}


class _Cache:
    """Jobs as hashes that expire, first written by the proxy, then by whoever has done them."""

    def __init__(self, redis: Redis, job_ttl_seconds: int, result_ttl_seconds: int) -> None:
        self._redis = redis
        self._job_ttl, self._result_ttl = job_ttl_seconds, result_ttl_seconds
        self._write = redis.register_script(WRITE)

    def _key(self, job_id: str) -> str:
        return f"asynchronous:job:{job_id}"

    async def _finish(self, job_id: str, payload: bytes, read: Read, settings: PredictorSettings) -> None:
        """Predict, and keep what came of it; the first result stays."""
        try:
            result = "done", "prediction", await read(payload, monotonic() + settings.job_timeout_seconds)
        except Exception as error:
            result = "failed", "error", f"{type(error).__name__}: {error}".encode()
        await self._write(args=[job_id, time(), self._result_ttl, *result])


class CacheTrigger(_Cache):
    """Predictors look into the cache."""

    async def submit(self, job_id: str, fields: Values, most: int) -> Accepted:
        """Put the job there; one more than `most` open ones is a `Problem` 429."""
        if await self._redis.scard(OPEN_JOBS) >= most:
            raise Problem(429, f"{most} jobs have not ended yet: try again later", {"Retry-After": "1"})
        async with self._redis.pipeline() as transaction:
            transaction.hset(self._key(job_id), mapping=_queued(fields))
            transaction.expire(self._key(job_id), self._job_ttl)
            transaction.sadd(OPEN_JOBS, job_id)
            await transaction.execute()
        return Accepted(job_id=job_id)

    def work(self, app: Service, read: Read, settings: PredictorSettings) -> None:
        """Look for jobs while the app runs."""

        async def look() -> None:
            some: Any = await self._redis.srandmember(OPEN_JOBS, settings.max_batch_rows)
            found = [str(job_id, "ascii") for job_id in some]
            payloads: list[Any] = [await self._redis.hget(self._key(job_id), "payload") for job_id in found]
            for job_id in [job_id for job_id, payload in zip(found, payloads, strict=True) if payload is None]:
                await self._redis.srem(OPEN_JOBS, job_id)  # expired
            jobs = [(job_id, payload) for job_id, payload in zip(found, payloads, strict=True) if payload is not None]
            await asyncio.gather(*[self._finish(job_id, payload, read, settings) for job_id, payload in jobs])
            if not found:
                await asyncio.sleep(LOOK_SECONDS * random.uniform(0.5, 1.5))

        repeat(app, look, "cache")


class PubSubTrigger(_Cache):
    """Predictors subscribe."""

    async def submit(self, job_id: str, fields: Values, most: int) -> Accepted:
        """Keep the job, and tell whoever listens."""
        async with self._redis.pipeline() as transaction:
            transaction.hset(self._key(job_id), mapping=_queued(fields))
            transaction.expire(self._key(job_id), self._job_ttl)
            transaction.publish(CHANNEL, job_id)
            await transaction.execute()
        return Accepted(job_id=job_id, delivery="at-most-once")

    def work(self, app: Service, read: Read, settings: PredictorSettings) -> None:
        """Listen while the app runs; of several who hear of a job, one does it."""
        running: set[asyncio.Task[None]] = set()

        async def do(job_id: str) -> None:
            if await self._redis.hsetnx(self._key(job_id), "started_at", time()):
                await self._redis.hset(self._key(job_id), "status", "running")
                payload: Any = await self._redis.hget(self._key(job_id), "payload")
                await self._finish(job_id, payload, read, settings)

        channel = self._redis.pubsub(ignore_subscribe_messages=True)

        async def listen() -> None:
            if not channel.subscribed:
                await channel.subscribe(CHANNEL)
            if message := await channel.get_message(timeout=LISTEN_SECONDS):
                task = asyncio.create_task(do(str(message["data"], "ascii")))
                running.add(task)
                task.add_done_callback(running.discard)

        @asynccontextmanager
        async def opened() -> AsyncIterator[None]:
            async with channel:
                yield
                await asyncio.gather(*running, return_exceptions=True)

        app.add_lifespan(opened)
        repeat(app, listen, "Pub/Sub")
