"""dramatiq on Redis: acknowledged after the actor has run; a dead worker's messages come back after a minute."""

import asyncio
import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.queues.inference import read

WORKER = ("dramatiq", "benchmarks.queues.dramatiq_queue", "--processes", "1", "--threads", "4")
URL = os.environ["REDIS_URL"]
broker: Any = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL), result_ttl=60_000))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True, queue_name="read")  # type: ignore[untyped-decorator]
def read_job(payload: str) -> list[float]:
    """The task; its messages are JSON."""
    return read(bytes.fromhex(payload))


async def connect() -> None:
    """Nothing to open."""


async def submit(_: None, payload: bytes) -> Any:
    """Hand one in; the client blocks, and so runs in a thread."""
    return await asyncio.to_thread(read_job.send, payload.hex())


async def result(_: None, job: Any) -> list[float]:
    """Wait for what came of it."""
    answer: list[float] = await asyncio.to_thread(job.get_result, block=True, timeout=60_000)
    return answer
