"""Runs of a graph that fixes the number of their rows: fewer rows are padded, more are split."""

from collections.abc import Iterator

import numpy as np

from common.inference.proof.batch_proof import NotProved
from common.inference.tensor_spec import Run, Tensors


def run_in_batches(run: Run, inputs: Tensors, size: int | None) -> Tensors:
    """The outputs for all rows; `size` is the number of rows of each run, None if one run takes any number.

    The last run is padded by repeating its last row. Raises `NotProved` if an output has not a row for each.
    """
    rows = len(next(iter(inputs.values()))) if size else 0
    if size is None or rows == size:
        return run(inputs)
    parts = [run(part) for part in _split(inputs, rows, size)]
    for name, value in parts[0].items():
        if any(part[name].shape[:1] != (size,) for part in parts):
            raise NotProved(f"{name} has the shape {list(value.shape)} for {size} rows")
    return {name: np.concatenate([part[name] for part in parts])[:rows] for name in parts[0]}


def _split(inputs: Tensors, rows: int, size: int) -> Iterator[Tensors]:
    for start in range(0, rows, size):
        index = np.minimum(np.arange(start, start + size), rows - 1)
        yield {name: value[index] for name, value in inputs.items()}
