"""A batcher whose model doubles numbers; in a worker thread it waits at a gate, so each test says when a batch ends."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Any

import numpy as np
import pytest

from common.inference.batcher import NEVER_INLINE, Batcher
from common.inference.entries import Prediction
from common.inference.tensor_spec import Tensors

MAX_BATCH, MAX_QUEUE = 4, 8
FAR = 60.0
Future = asyncio.Future[Prediction]


class Refusing(Exception):
    """What the model raises for a negative number."""


@dataclass
class Gated:
    """A model that records what it runs and ends no run before the gate opens."""

    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    started: list[list[int]] = field(default_factory=list)

    def run(self, inputs: Tensors) -> Tensors:
        numbers = inputs["x"].tolist()
        self.started.append(numbers)
        assert self.gate.acquire(timeout=20)
        if min(numbers) < 0:
            raise Refusing(str(numbers))
        return {"y": inputs["x"] * 2}

    def open(self) -> None:
        self.gate.release(10_000)


@contextmanager
def batcher(*, inline: bool = False, open: bool = False, turn_elements: float = 0) -> Iterator[tuple[Batcher, Gated]]:
    model = Gated()
    if open or inline:
        model.open()
    try:
        yield (
            Batcher(
                model.run,
                max_batch_rows=MAX_BATCH,
                max_queue_rows=MAX_QUEUE,
                inline_elements=inf if inline else NEVER_INLINE,
                turn_elements=turn_elements,
            ),
            model,
        )
    finally:
        model.open()


def submit(
    to: Batcher, *numbers: int, seconds: float = FAR, key: object = "", left: Callable[[], bool] = bool
) -> Future:
    return to.submit({"x": np.array(numbers)}, len(numbers), monotonic() + seconds, key, left)


async def until(check: Callable[[], bool]) -> None:
    """Lets the event loop turn until the check holds."""
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110 - what happens in a thread sets no event
            await asyncio.sleep(0.0005)


def doubled(answer: Prediction) -> list[int]:
    numbers: list[int] = answer.outputs["y"].tolist()
    return numbers


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


both = pytest.mark.parametrize("inline", [True, False], ids=["inline", "threaded"])
