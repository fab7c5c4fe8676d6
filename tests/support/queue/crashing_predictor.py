"""The queue's predictor, which kills itself at the point that CRASH_AT names, while it holds jobs.

`reading`: it has read the jobs, and not started them. `claim`: it has started them. `inference`: they are predicted,
and no result is written. `result`: their results are written, and it has not received the reply.
The last line of its log says when it crashed, and with which jobs.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import FastAPI
from redis.asyncio import Redis

from asynchronous.jobs import ClaimedJob, Outcome
from asynchronous.predictor import create_app as create_predictor
from asynchronous.queue import JobQueue


def create_app() -> FastAPI:
    """`uvicorn tests.support.queue.crashing_predictor:create_app --factory`"""
    return create_predictor(job_queue=POINTS[os.environ["CRASH_AT"]])


class CrashAtReading(JobQueue):
    """Crashes between XREADGROUP and the start of the jobs."""

    def __init__(self, redis: Redis, job_ttl_seconds: int, result_ttl_seconds: int) -> None:
        super().__init__(RedisThatCrashesAfterReading(redis), job_ttl_seconds, result_ttl_seconds)  # type: ignore[arg-type]


class CrashAtClaim(JobQueue):
    """Crashes when the jobs have been started."""

    async def claim(self, consumer: str, count: int, block_ms: int) -> list[ClaimedJob]:
        """Claim them, and crash."""
        claimed = await super().claim(consumer, count, block_ms)
        _crash(job.job_id for job in claimed)
        return claimed


class CrashAtInference(JobQueue):
    """Crashes when the jobs are predicted."""

    async def complete_jobs(self, consumer: str, outcomes: Sequence[Outcome]) -> set[bytes]:
        """Crash, and write nothing."""
        _crash(outcome.job.job_id for outcome in outcomes)
        return set()


class CrashAtResult(JobQueue):
    """Crashes when the results are written."""

    async def complete_jobs(self, consumer: str, outcomes: Sequence[Outcome]) -> set[bytes]:
        """Write them, and crash."""
        settled = await super().complete_jobs(consumer, outcomes)
        _crash(outcome.job.job_id for outcome in outcomes)
        return settled


POINTS = {"reading": CrashAtReading, "claim": CrashAtClaim, "inference": CrashAtInference, "result": CrashAtResult}


class RedisThatCrashesAfterReading:
    """A Redis client; the process ends when a read has returned entries."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)

    async def xreadgroup(self, *args: Any, **options: Any) -> Any:
        """Read, and crash."""
        found: Any = await self._redis.xreadgroup(*args, **options)
        _crash(fields[b"job_id"].decode() for _, entries in found or () for _, fields in entries)
        return found


def _crash(job_ids: Iterable[str]) -> None:
    if job_ids := list(job_ids):
        sys.stderr.write(json.dumps({"crashed_at": time.time(), "jobs": job_ids}) + "\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
