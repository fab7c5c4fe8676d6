"""The queue's predictor, which kills itself at the instant that CRASH_AT names, with the jobs in its hands.

`reading`: it has read them, and not said that it begins them. `claim`: it has begun them. `inference`: they are
predicted, and nothing is written. `result`: their results are written, and it has not heard of it.
The last line of its log says when, and which jobs.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import FastAPI

from asynchronous.predictor import create_app as create_predictor
from asynchronous.queue import Broker, Claimed, Outcome

POINTS = ("reading", "claim", "inference", "result")


def create_app() -> FastAPI:
    """`uvicorn tests.support.crashing_predictor:create_app --factory`"""
    {"reading": _at_reading, "claim": _at_claim, "inference": _at_inference, "result": _at_result}[
        os.environ["CRASH_AT"]
    ]()
    return create_predictor()


def _crash(job_ids: Iterable[str]) -> None:
    if job_ids := list(job_ids):
        sys.stderr.write(json.dumps({"crashed_at": time.time(), "jobs": job_ids}) + "\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def _at_reading() -> None:
    async def begun(self: Broker, entries: Sequence[Any]) -> list[Claimed]:
        _crash(fields[b"job_id"].decode() for _, fields in entries)
        return []

    Broker._begun = begun  # type: ignore[method-assign]


def _at_claim() -> None:
    whole = Broker.claim

    async def claim(self: Broker, consumer: str, count: int, block_ms: int) -> list[Claimed]:
        claimed = await whole(self, consumer, count, block_ms)
        _crash(job.job_id for job in claimed)
        return claimed

    Broker.claim = claim  # type: ignore[method-assign]


def _at_inference() -> None:
    async def settle(self: Broker, consumer: str, outcomes: Sequence[Outcome]) -> set[bytes]:
        _crash(outcome.job.job_id for outcome in outcomes)
        return set()

    Broker.settle = settle  # type: ignore[method-assign]


def _at_result() -> None:
    whole = Broker.settle

    async def settle(self: Broker, consumer: str, outcomes: Sequence[Outcome]) -> set[bytes]:
        settled = await whole(self, consumer, outcomes)
        _crash(outcome.job.job_id for outcome in outcomes)
        return settled

    Broker.settle = settle  # type: ignore[method-assign]
