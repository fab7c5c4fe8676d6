"""A `JobQueue` on an empty server, and jobs for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import numpy as np
from redis.asyncio import Redis

from asynchronous.jobs import NewJob
from asynchronous.queue import JobQueue
from common.prediction.payload import to_payload
from tests.support.redis_servers import RedisServer

TTL = 1
"""Seconds for which results are kept, and jobs unless a test says otherwise."""
PAYLOAD = to_payload({"features": np.zeros((1, 64), np.float32)})
PREDICTION = b'{"digit":7,"confidence":0.98,"probabilities":[0,0,0,0,0,0,0,0.98,0.01,0.01]}'


@asynccontextmanager
async def open_queue(server: RedisServer, job_ttl: int = TTL) -> AsyncIterator[tuple[Redis, JobQueue]]:
    """The queue, and a client of the server, which is emptied first."""
    async with Redis(port=server.port) as redis:
        await redis.flushdb()
        queue = JobQueue(redis, job_ttl, TTL)
        await queue.open()
        yield redis, queue


async def submit_plain(queue: JobQueue, ordering_key: str = "", once: str = "", callback_url: str = "") -> str:
    """The id of a new job."""
    return await queue.submit(str(uuid4()), NewJob(PAYLOAD, ordering_key, once, "digest", callback_url), 100)
