"""One batch: the entries that callers submitted run together, and each gets its own rows back."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from common.inference.tensor_spec import Run, Tensors
from common.service.problems import Problem

ALONE = object()
"""The key of entries that share no run."""


class Prediction(NamedTuple):
    """An entry's own rows of every output, the seconds that it waited, and the seconds that its batch ran."""

    outputs: Tensors
    waited: float
    ran: float


@dataclass(slots=True, eq=False)
class Entry:
    """One request in the queue: `rows` rows of every input."""

    inputs: Tensors
    rows: int
    deadline: float
    key: Hashable
    client_disconnected: Callable[[], bool]
    future: asyncio.Future[Prediction]
    submitted: float
    timer: asyncio.TimerHandle | None = None

    def resolve(self, outcome: Prediction | Exception) -> None:
        """Set the future's result or exception, unless it has one or was cancelled."""
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)

    def expire(self) -> None:
        """Fail with a `Problem` 504: the deadline has passed."""
        self.resolve(Problem(504, "the deadline passed before the inference was done"))


def count_elements(batch: list[Entry]) -> int:
    """The elements of all inputs."""
    return sum([value.size for entry in batch for value in entry.inputs.values()])


def join(parts: list[Prediction]) -> Prediction:
    """The rows of several entries as one prediction."""
    outputs = {name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs}
    return Prediction(outputs, parts[0].waited, sum(part.ran for part in parts))


def run_batch(run: Run, batch: list[Entry]) -> list[Tensors | Exception]:
    """Each entry's outputs, or its own error: a batch that fails is run again one entry at a time."""
    if len(batch) == 1 or batch[0].key is ALONE:
        return [_run_alone(run, entry) for entry in batch]
    try:
        outputs = run({name: np.concatenate([e.inputs[name] for e in batch]) for name in batch[0].inputs})
    except Exception:
        return [_run_alone(run, entry) for entry in batch]
    ends = [*accumulate([entry.rows for entry in batch])]
    if any(value.ndim == 0 or len(value) != ends[-1] for value in outputs.values()):  # never a shortened answer
        return [_run_alone(run, entry) for entry in batch]
    return [
        {name: value[end - entry.rows : end] for name, value in outputs.items()}
        for entry, end in zip(batch, ends, strict=True)
    ]


def _run_alone(run: Run, entry: Entry) -> Tensors | Exception:
    try:
        return run(entry.inputs)
    except Exception as error:
        return error
