"""Celery on Redis with late acknowledgement, in one process with threads."""

import asyncio
import os
from typing import Any

from celery import Celery

from benchmarks.queues.inference import read

WORKER = (
    "celery",
    "-A",
    "benchmarks.queues.celery_queue",
    "worker",
    "--pool=threads",
    "--concurrency=4",
    "-l",
    "WARNING",
)
URL = os.environ["REDIS_URL"]
app = Celery("queue", broker=URL, backend=URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=16,
    result_expires=60,
    broker_connection_retry_on_startup=True,
)


@app.task(name="read_job")  # type: ignore[untyped-decorator]
def read_job(payload: str) -> list[float]:
    """The task; its messages are JSON."""
    return read(bytes.fromhex(payload))


async def connect() -> None:
    """Nothing to open."""


async def submit(_: None, payload: bytes) -> Any:
    """Hand one in; the client blocks, and so runs in a thread."""
    return await asyncio.to_thread(read_job.delay, payload.hex())


async def result(_: None, job: Any) -> list[float]:
    """Wait for what came of it."""
    answer: list[float] = await asyncio.to_thread(job.get, timeout=60, interval=0.001)
    return answer
