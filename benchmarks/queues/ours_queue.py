"""The asynchronous pattern: its queue here, its predictor as the worker."""

import asyncio
import os
from collections import defaultdict
from uuid import uuid4

from pydantic_core import from_json
from redis.asyncio import Redis

from asynchronous.jobs import NewJob
from asynchronous.queue import EVENTS, JobQueue

WORKER = ("uvicorn", "asynchronous.predictor:create_app", "--factory", "--port", "0", "--no-access-log")


class Client:
    """The queue, and the jobs that have ended."""

    def __init__(self) -> None:
        self.redis = Redis.from_url(os.environ["REDIS_URL"], socket_timeout=None, max_connections=256)
        self.queue = JobQueue(self.redis, 600, 60)
        self.listener: asyncio.Task[None] | None = None
        self.ended: defaultdict[bytes, asyncio.Event] = defaultdict(asyncio.Event)

    async def listen(self, channel_open: asyncio.Event) -> None:
        """Note which jobs end."""
        async with self.redis.pubsub() as channel:
            await channel.subscribe(EVENTS)
            channel_open.set()
            async for message in channel.listen():
                for line in message["data"].splitlines() if isinstance(message["data"], bytes) else ():
                    job_id, _, status = line.partition(b" ")
                    if status == b"done":
                        self.ended[job_id].set()


async def connect() -> Client:
    """A client that listens."""
    client, channel_open = Client(), asyncio.Event()
    client.listener = asyncio.create_task(client.listen(channel_open))
    await channel_open.wait()
    return client


async def submit(client: Client, payload: bytes) -> str:
    """Hand one in."""
    return await client.queue.submit(str(uuid4()), NewJob(payload), 1_000_000)


async def result(client: Client, job_id: str) -> list[float]:
    """Wait for what came of it."""
    async with asyncio.timeout(60):
        await client.ended[job_id.encode()].wait()
    del client.ended[job_id.encode()]
    job = await client.queue.get(job_id)
    answer: list[float] = from_json(job[b"prediction"])["probabilities"]
    return answer
