"""The rows with which a proof is made: of several kinds and lengths, and only those that the model takes."""

from collections.abc import Iterator, Sequence
from time import process_time

import numpy as np

from common.inference.fixed_batches import run_in_batches
from common.inference.proof.batch_proof import ROWS, NotProved, take
from common.inference.proof.contrasts import Limits, fill, ladders, unusual
from common.inference.proof.sample_inputs import LENGTHS, WIDE, Guess
from common.inference.tensor_spec import ANY, Run, Tensors, TensorSpec

Sample = tuple[str, Tensors]
"""The kind of its values, and distinct rows."""

GIVEN = "given"
"""By WARM_UP."""
ENOUGH_LENGTH = 8
"""Of the lengths of free axes in a proof, one is at least this."""
SAMPLE_ROWS = 4
"""Of these, that many are compared beside contrasting ones."""
GROWTH_SECONDS = 0.001
"""Of CPU: what a run may take beside twice the quickest run before its larger numbers are taken for the cause."""
TRIES = 3
"""All of which must have taken so long: other processes may keep the CPU busy."""


def samples(
    run: Run, specs: Sequence[TensorSpec], guess: Guess | None, given: Tensors | None, size: int | None
) -> Iterator[Sample]:
    """Rows for the proofs; raises `NotProved` if there are none."""
    if guess is not None:
        if guess.first != 1:
            raise NotProved("a single row does not run")
        return _more_samples(run, specs, guess, size)
    assert given is not None
    count = min(map(len, given.values()))
    if count < 2 or len({*map(len, given.values())}) > 1:
        raise NotProved("WARM_UP has fewer than two rows")
    return iter([(GIVEN, take(given, list(range(min(count, ROWS)))))])


def contrasting_rows(run: Run, rows: Tensors, size: int | None) -> Iterator[tuple[Tensors, list[Tensors]]]:
    """Single rows that the model takes, each with those that run beside it in a proof."""
    first, second, *more = (take(rows, [place]) for place in range(min(len(next(iter(rows.values()))), SAMPLE_ROWS)))
    odd = [fill(first, limits) for limits in _taken(run, first, unusual(first), size)]
    yield first, [second, *odd]
    yield from ((each, [first, odd[-1]]) for each in odd)
    for below, above in ladders(first):
        down, up = _taken(run, first, below, size), _taken(run, first, above, size)
        rungs = [*down, *up]
        if rungs:
            others = [fill(first, limits) for limits in (rungs[0], *down[-1:], *up[-1:])]
            yield from ((each, others) for each in (first, second, *more))
            yield from ((fill(first, limits), others) for limits in rungs)


def _taken(run: Run, row: Tensors, rungs: list[Limits], size: int | None) -> list[Limits]:
    """Those that the model takes, up to one that takes longer: it may count steps, and the next one take hours."""
    taken: list[Limits] = []
    allowed = np.inf
    for limits in rungs:
        filled = fill(row, limits)
        seconds = _seconds(run, filled, size)
        if np.isinf(seconds):
            continue
        if seconds > allowed and all(_seconds(run, filled, size) > allowed for _ in range(TRIES - 1)):
            break
        taken.append(limits)
        allowed = min(allowed, 2 * seconds + GROWTH_SECONDS)
    return taken


def _more_samples(run: Run, specs: Sequence[TensorSpec], guess: Guess, size: int | None) -> Iterator[Sample]:
    """Rows that differ, of each kind, of the guess's length, the next longer one, and one that is long enough."""
    has_free_axes = any(ANY in spec.shape[1:] for spec in specs)
    left, longest = (3 if has_free_axes else 1), 0
    for length in (n for n in LENGTHS if n >= guess.length):
        if not left or (left == 1 and longest and length < ENOUGH_LENGTH):
            continue
        ran = False
        for kind in ("signed", "positive", WIDE):
            one = Guess(length, 1, kind)
            if not one.is_small(specs):  # two free axes of this length
                continue
            rows = _rows_that_run(run, _distinct_rows(one, specs, size), size, all_=kind == WIDE)
            if rows is None:  # another length or kind may run
                continue
            ran, longest = True, length
            yield kind, rows
        left -= ran


def _rows_that_run(run: Run, rows: Tensors, size: int | None, all_: bool) -> Tensors | None:
    """These rows, or those of them that run: an index may be beyond a small table. Of `all_`, each is tried."""
    count = len(next(iter(rows.values())))
    if not all_ and _runs(run, take(rows, [0]), size) and _runs(run, rows, size):
        return rows
    good = [row for row in range(count) if _runs(run, take(rows, [row]), size)]
    return take(rows, good) if len(good) > 1 and (size is None or len(good) == count) else None


def _runs(run: Run, inputs: Tensors, size: int | None) -> bool:
    return _seconds(run, inputs, size) < np.inf


def _seconds(run: Run, inputs: Tensors, size: int | None) -> float:
    """The CPU time of a run; infinite if the model does not take these inputs."""
    started = process_time()
    try:
        run_in_batches(run, inputs, size)
    except Exception:  # onnxruntime's exceptions share no base class
        return np.inf
    return process_time() - started


def _distinct_rows(guess: Guess, specs: Sequence[TensorSpec], size: int | None) -> Tensors:
    """As many as a proof takes; two runs' worth for a graph that fixes their number."""
    if size is None:
        return guess.rows(specs, ROWS)
    free = [spec._replace(shape=(ANY, *spec.shape[1:])) for spec in specs]
    return guess.rows(free, max(2, size))
