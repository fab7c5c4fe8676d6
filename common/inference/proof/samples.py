"""The rows with which a proof is made: of several kinds and lengths, and only those that the model takes."""

from collections.abc import Iterator, Sequence
from time import monotonic

from common.inference.fixed_batches import run_in_batches
from common.inference.proof.batch_proof import ROWS, NotProved, take
from common.inference.proof.sample_inputs import LENGTHS, WIDE, Guess, extremes
from common.inference.tensor_spec import ANY, Run, Tensors, TensorSpec

Sample = tuple[str, Tensors]
"""The kind of its values, and distinct rows."""

ENOUGH_LENGTH = 8
"""Of the lengths of free axes in a proof, one is at least this."""
MAX_EXTREME_SECONDS = 0.1


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
    return iter([("given", take(given, list(range(min(count, ROWS)))))])


def extreme_rows(run: Run, row: Tensors, size: int | None) -> Iterator[Tensors]:
    """Rows of NaN, of infinities and of large numbers, those that the model takes, and as long as it stays quick."""
    for of_one_kind in extremes(row):
        for extreme in of_one_kind:
            started = monotonic()
            is_taken = _runs(run, extreme, size)
            is_slow = monotonic() - started > MAX_EXTREME_SECONDS
            if is_taken:
                yield extreme
            if is_slow:  # it may be a number of steps: a larger one would take hours
                break


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
    """These rows if the first runs; of `all_`, only those that run."""
    count = len(next(iter(rows.values())))
    good = [row for row in range(count if all_ else 1) if _runs(run, take(rows, [row]), size)]
    if not all_:
        return rows if good else None
    return take(rows, good) if len(good) > 1 and (size is None or len(good) == count) else None


def _runs(run: Run, inputs: Tensors, size: int | None) -> bool:
    try:
        run_in_batches(run, inputs, size)
    except Exception:  # onnxruntime's exceptions share no base class
        return False
    return True


def _distinct_rows(guess: Guess, specs: Sequence[TensorSpec], size: int | None) -> Tensors:
    """As many as a proof takes; two runs' worth for a graph that fixes their number."""
    if size is None:
        return guess.rows(specs, ROWS)
    free = [spec._replace(shape=(ANY, *spec.shape[1:])) for spec in specs]
    return guess.rows(free, max(2, size))
