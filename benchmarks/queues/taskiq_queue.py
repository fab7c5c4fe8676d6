"""taskiq on a Redis stream, acknowledged after the task has run."""

import os
from typing import Any

from taskiq import AsyncTaskiqTask
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.queues.inference import read

WORKER = ("taskiq", "worker", "benchmarks.queues.taskiq_queue:broker", "--workers", "1", "--ack-type", "when_saved")
URL = os.environ["REDIS_URL"]
results: Any = RedisAsyncResultBackend(URL, result_ex_time=60)
broker = RedisStreamBroker(URL).with_result_backend(results)


@broker.task  # type: ignore[untyped-decorator]
async def read_job(payload: str) -> list[float]:
    """The task; its messages are JSON."""
    return read(bytes.fromhex(payload))


async def connect() -> None:
    """Open the client."""
    await broker.startup()


async def submit(_: None, payload: bytes) -> AsyncTaskiqTask[list[float]]:
    """Hand one in."""
    return await read_job.kiq(payload.hex())


async def result(_: None, job: AsyncTaskiqTask[list[float]]) -> list[float]:
    """Wait for what came of it."""
    answer: list[float] = (await job.wait_result(check_interval=0.001, timeout=60)).return_value
    return answer
