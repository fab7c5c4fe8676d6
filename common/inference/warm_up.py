"""The warm-up: runs a model a few times at start, and finds out how it takes batches and how long a row takes."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from common.inference.tensor_spec import Tensors, TensorSpec

Run = Callable[[Tensors], Tensors]
MEASUREMENTS = 5


class WarmUp(NamedTuple):
    """How a model takes batches, what one row took once it was warm, and one sample run.

    `is_batched`: the first axis of every input and output counts rows, so requests can share a run.
    `fixed_batch_size`: the number of rows that the graph fixes for each run; None: any number.
    """

    is_batched: bool
    fixed_batch_size: int | None
    seconds_per_row: float
    inputs: Tensors
    outputs: Tensors


def warm_up(run: Run, specs: Sequence[TensorSpec]) -> WarmUp:
    """Runs zeros through the graph; raises what `run` raises if it cannot predict at all."""
    is_batched, size = _declared_batching(specs)
    inputs = zeros(specs, 1, is_batched)
    outputs, rows = run_in_batches(run, inputs, size), 1
    if is_batched and size is None:
        outputs, rows = run(zeros(specs, 2, is_batched)), 2
    if is_batched and any(value.ndim == 0 or len(value) != rows for value in outputs.values()):
        is_batched, size = False, None
        inputs = zeros(specs, 1, is_batched)
        outputs = run(inputs)
    seconds = min(_seconds(lambda: run_in_batches(run, inputs, size)) for _ in range(MEASUREMENTS))
    return WarmUp(is_batched, size, seconds, inputs, outputs)


def run_in_batches(run: Run, inputs: Tensors, size: int | None) -> Tensors:
    """The outputs for all rows; `size` is the number of rows of each run, None if one run takes any number.

    The last run is padded by repeating its last row.
    """
    if size is None:
        return run(inputs)
    rows = len(next(iter(inputs.values())))
    parts = [run(part) for part in _split(inputs, rows, size)]
    return {name: np.concatenate([part[name] for part in parts])[:rows] for name in parts[0]}


def zeros(specs: Sequence[TensorSpec], rows: int, is_batched: bool) -> Tensors:
    """Inputs of `rows` rows (if the first axis counts rows); every other free axis has length 1."""
    return {
        spec.name: np.full(
            [rows if is_batched and axis == 0 else abs(length) for axis, length in enumerate(spec.shape)],
            "" if spec.dtype == object else 0,
            spec.dtype,
        )
        for spec in specs
    }


def _declared_batching(specs: Sequence[TensorSpec]) -> tuple[bool, int | None]:
    """What the graph declares: whether all inputs share a first axis, and its length where that is fixed."""
    lengths = {spec.shape[0] if spec.shape else 0 for spec in specs}
    length = lengths.pop() if len(lengths) == 1 else 0
    return length != 0, length if length > 0 else None


def _split(inputs: Tensors, rows: int, size: int) -> Iterator[Tensors]:
    for start in range(0, rows, size):
        index = np.minimum(np.arange(start, start + size), rows - 1)
        yield {name: value[index] for name, value in inputs.items()}


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
