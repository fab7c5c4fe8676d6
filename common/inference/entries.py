"""One batch: what callers submitted, run together, and shared out again."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from common.inference.model import Tensors
from common.service.problems import Problem

Run = Callable[[Tensors], Tensors]


class Prediction(NamedTuple):
    """An entry's own rows of every output, the seconds that it waited, and the seconds that its batch ran."""

    outputs: Tensors
    waited: float
    ran: float


@dataclass(slots=True, eq=False)
class Entry:
    """What one caller submitted: `rows` rows of every input."""

    inputs: Tensors
    rows: int
    deadline: float
    key: Hashable
    client_disconnected: Callable[[], bool]
    future: asyncio.Future[Prediction]
    submitted: float
    timer: asyncio.TimerHandle | None = None

    def settle(self, outcome: Prediction | Exception) -> None:
        """Give the caller an answer or an error, unless it has one or has stopped waiting."""
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)

    def expire(self) -> None:
        """Tell the caller that it is too late."""
        self.settle(Problem(504, "the deadline passed before the inference was done"))


def run_batch(run: Run, batch: list[Entry]) -> list[Tensors | Exception]:
    """Each entry's outputs, or its own error: a batch that fails is run again one entry at a time."""
    try:
        if len(batch) == 1:
            return [run(batch[0].inputs)]
        outputs = run({name: np.concatenate([e.inputs[name] for e in batch]) for name in batch[0].inputs})
    except Exception as error:
        return [error] if len(batch) == 1 else [run_batch(run, [entry])[0] for entry in batch]
    ends = accumulate(entry.rows for entry in batch)
    return [
        {name: value[end - entry.rows : end] for name, value in outputs.items()}
        for entry, end in zip(batch, ends, strict=True)
    ]
