"""The proof that requests may share a run: rows that run together give what each of them gives alone.

It is made by running the model, not read off the graph. A graph may take its first axis for time, or scale all rows by
the largest of them, and nothing in its shapes says so.
"""

from collections.abc import Iterable, Sequence
from math import inf
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from common.inference.tensor_spec import Run, Tensors

ROWS = 8
"""Distinct rows in a proof: together in runs of 2, 3 and 8, of 8 in the opposite order, and as many as a batch has."""
ROUNDING = 1e-5
"""Up to here, relative to the largest value of the output, a difference is rounding: the sums of some matrix products
are added up in another order for one row than for many, in float32 with 24 bits. Requests then do not share a run, but
the rows of one job do. Dynamic quantization, which rounds to 8 bits, and rows that influence each other differ by 1e-3
or more."""
HALF_ROUNDING = 4 * float(np.finfo(np.float16).eps)


class NotProved(Exception):
    """Requests must not share a run; the message is the end of a sentence that says why."""


def prove(run: Run, rows: Tensors, alone: list[int], together: list[int], deadline: float) -> tuple[bool, bool]:
    """Whether the answers were the same bit for bit, and whether they differed from row to row at all.

    `alone`: the rows that run alone; `together`: how many of the first run together, in turn if more.
    Raises `NotProved`.
    """
    count = len(next(iter(rows.values())))
    exact = True
    singles = {row: _in_time(run, take(rows, [row]), deadline) for row in alone}
    orders = [np.arange(size) % count for size in together]
    for order in (*orders, np.arange(count)[::-1]):
        for name, values in _run_together(run, rows, order, deadline).items():
            for place, row in enumerate(order):
                if row in singles:
                    exact &= _same(name, singles[row][name], values[place : place + 1], values)
    return exact, len({b"".join(_bits(value) for value in single.values()) for single in singles.values()}) > 1


def prove_neighbours(run: Run, rows: Tensors, deadline: float) -> None:
    """Raise `NotProved` unless a row gets the same bits at the same place, whichever rows are beside it.

    No rounding has to be allowed for here: as many rows run together, so nothing is added up in another order. A row
    that others replace is gone, with the largest value or the mean that it made; at last, only the first row is left.
    """
    order = np.arange(len(next(iter(rows.values()))))
    before = _run_together(run, rows, order, deadline)
    next_row = (order + 1) % len(order)
    for kept, others in ((order % 2 == 0, next_row), (order % 2 == 1, next_row), (order == 0, 0 * order)):
        after = _run_together(run, rows, np.where(kept, order, others), deadline)
        for name, values in after.items():
            if _bits(values[kept]) != _bits(before[name][kept]):
                raise NotProved(f"{name} of a row depends on the rows beside it")


def prove_beside(run: Run, row: Tensors, others: Iterable[Tensors], is_first: bool, deadline: float) -> None:
    """Raise `NotProved` unless this row gets the same bits beside each of the `others`, which are one row, too.

    `is_first`: whether it stands before the other one, or after it.
    """
    expected: dict[str, bytes] = {}
    for other in others:
        pair = (row, other) if is_first else (other, row)
        both = {name: np.concatenate([each[name] for each in pair]) for name in row}
        for name, values in _run_together(run, both, np.arange(2), deadline).items():
            bits = _bits(values[:1] if is_first else values[1:])
            if bits != expected.setdefault(name, bits):
                raise NotProved(f"{name} of a row depends on the rows beside it")


def prove_rows(run: Run, row: Tensors, counts: Iterable[int]) -> None:
    """Raise `NotProved` unless, for these numbers of rows, each output has a row for each."""
    for count in counts:
        _run_together(run, row, np.zeros(count, np.intp), inf)


def take(rows: Tensors, index: Sequence[int] | NDArray[np.intp]) -> Tensors:
    """These rows of every input."""
    return {name: value[index] for name, value in rows.items()}


def _run_together(run: Run, rows: Tensors, order: NDArray[np.intp], deadline: float) -> Tensors:
    """The outputs of these rows in one run; raises `NotProved` if one has not a row for each."""
    outputs = _in_time(run, take(rows, order), deadline)
    for name, values in outputs.items():
        if values.ndim == 0 or len(values) != len(order):
            raise NotProved(f"{name} has the shape {list(values.shape)} for {len(order)} rows")
    return outputs


def _in_time(run: Run, inputs: Tensors, deadline: float) -> Tensors:
    if monotonic() > deadline:
        raise NotProved("WARM_UP_SECONDS passed before the proof was done")
    return run(inputs)


def _same(name: str, alone: NDArray[np.generic], shared: NDArray[np.generic], all_: NDArray[np.generic]) -> bool:
    """Whether two answers are the same bit for bit; raises `NotProved` if they differ by more than rounding."""
    if alone.shape != shared.shape or alone.dtype != shared.dtype:
        raise NotProved(f"{name} has the shape {list(alone.shape)} for a row alone, {list(shared.shape)} among others")
    if _bits(alone) == _bits(shared):
        return True
    if alone.dtype.kind != "f":
        raise NotProved(f"{name} of a row depends on the rows beside it")
    largest = np.max(np.abs(np.where(np.isfinite(all_), all_, 0)), initial=0.0)
    allowed = float(largest) * (HALF_ROUNDING if alone.dtype == np.float16 else ROUNDING)
    if not np.allclose(alone.astype(np.float64), shared.astype(np.float64), rtol=0.0, atol=allowed, equal_nan=True):
        raise NotProved(f"{name} of a row depends on the rows beside it")
    return False


def _bits(values: NDArray[np.generic]) -> bytes:
    return repr(values.tolist()).encode() if values.dtype == object else values.tobytes()
