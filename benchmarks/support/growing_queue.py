"""What the queue of the asynchronous pattern costs at a depth: submit, take and complete while so many jobs wait."""

import asyncio
from collections.abc import Awaitable, Callable
from statistics import median
from time import perf_counter
from typing import TypeVar
from uuid import uuid4

from redis.asyncio import Redis

from asynchronous.jobs import ClaimedJob, NewJob, Outcome
from asynchronous.queue import JobQueue
from tests.support.queue.open_queue import PAYLOAD, PREDICTION

Result = TypeVar("Result")
DEPTHS = (10, 100, 1_000, 10_000, 100_000)
COLUMNS = ("jobs in the queue", "submit µs", "take µs a job", "complete µs a job", "MB of Valkey")
AT_ONCE, TIMES = 32, 100
CONSUMER, TAKEN = "benchmark", 10
UNBOUNDED, TTL_SECONDS = 10_000_000, 600


async def measure_depth(url: str, depth: int) -> tuple[str, ...]:
    """A row of the table: medians over calls that follow each other; ten jobs are taken and completed at a time."""
    async with Redis.from_url(url) as redis:
        await redis.flushdb()
        queue = JobQueue(redis, TTL_SECONDS, TTL_SECONDS)
        await queue.open()
        await fill(queue, depth)
        submits, takes, completes = [], [], []
        for _ in range(TIMES):
            for _ in range(TAKEN):
                submits.append((await timed(lambda: submit(queue)))[0])
            seconds, jobs = await timed(lambda: queue.claim(CONSUMER, TAKEN, 1_000))
            takes.append(seconds / len(jobs))
            completes.append((await timed(lambda jobs=jobs: complete(queue, jobs)))[0] / len(jobs))  # type: ignore[misc]
        memory = (await redis.info("memory"))["used_memory"]
    figures = [f"{median(some) * 1e6:.0f}" for some in (submits, takes, completes)]
    return f"{depth:,}", *figures, f"{memory / 2**20:.0f}"


async def fill(queue: JobQueue, depth: int) -> None:
    """Submit so many jobs, some of them at once."""

    async def some(count: int) -> None:
        for _ in range(count):
            await submit(queue)

    await asyncio.gather(*[some(len(range(first, depth, AT_ONCE))) for first in range(AT_ONCE)])


async def submit(queue: JobQueue) -> str:
    """One job."""
    return await queue.submit(str(uuid4()), NewJob(PAYLOAD), UNBOUNDED)


async def complete(queue: JobQueue, jobs: list[ClaimedJob]) -> None:
    """Write their predictions; all must still be held."""
    held = await queue.complete_jobs(CONSUMER, [Outcome(job, "done", PREDICTION, job.attempts) for job in jobs])
    if len(held) != len(jobs):
        raise RuntimeError(f"{len(jobs) - len(held)} of {len(jobs)} jobs were lost")


async def timed(call: Callable[[], Awaitable[Result]]) -> tuple[float, Result]:
    """The seconds that a call takes, and its result."""
    started = perf_counter()
    result = await call()
    return perf_counter() - started, result
