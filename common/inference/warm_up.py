"""The warm-up: runs a model at start, and finds out whether requests may share a run and how long a row takes.

What cannot be proved is run request by request; a model that no guess makes run is served all the same.
"""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from time import monotonic, perf_counter
from typing import NamedTuple

import numpy as np

from common.inference.batch_proof import ROWS, NotProved, Run, prove, take
from common.inference.sample_inputs import LENGTHS, Guess, guesses
from common.inference.tensor_spec import ANY, Tensors, TensorSpec

MEASUREMENTS = 20
MEASURE_SECONDS = 0.5
ENOUGH_LENGTH = 8
"""Of the lengths of free axes in a proof, one is at least this."""

MAX_FIXED_ROWS = 64
"""A graph that fixes more for its first axis hardly counts requests with it."""


class WarmUp(NamedTuple):
    """How a model takes batches, what one row took once it was warm, and one sample run.

    `batching`: "exact" (rows that share a run get, bit for bit, what they get alone), "rounding" (up to rounding),
    "trusted" (BATCHING=on, not proved) or "off"; `reason` says why it is off. `fixed_batch_size`: the rows that the
    graph fixes for each run; None: any number. `inputs` and `outputs` are None if no inputs were found that run.
    """

    batching: str
    reason: str
    fixed_batch_size: int | None = None
    seconds_per_row: float = np.inf
    inputs: Tensors | None = None
    outputs: Tensors | None = None

    @property
    def is_batched(self) -> bool:
        """Whether requests may share a run, and the first axis of every input and output counts rows."""
        return self.batching != "off"


def warm_up(
    run: Run,
    specs: Sequence[TensorSpec],
    *,
    batching: str = "auto",
    given: Tensors | None = None,
    seconds: float = 10.0,
    mixes_rows: str = "",
) -> WarmUp:
    """Find inputs that run (or take the `given` ones), then prove that rows are independent; both within `seconds`.

    `mixes_rows`: what is known already to make rows depend on each other; such a model is not batched.
    """
    deadline = monotonic() + seconds
    shared, size = declared_batching(specs)
    found = _sample(run, specs, given, shared, size, deadline)
    if isinstance(found, str):
        return WarmUp("trusted", found, size) if batching == "on" and shared else WarmUp("off", found)
    guess, inputs, outputs = found
    proved, reason = "off", "BATCHING=off"
    if batching == "on" and shared:
        proved, reason = "trusted", "BATCHING=on"
    elif batching != "off":
        try:
            if not shared:
                raise NotProved("its inputs have no first axis in common")
            if size and size > MAX_FIXED_ROWS:
                raise NotProved(f"its graph fixes {size} rows for each run")
            if mixes_rows and size != 1:
                raise NotProved(mixes_rows)
            exact = _prove_all(run, specs, guess, given, size, deadline)
            proved, reason = "exact" if exact else "rounding", ""
        except NotProved as error:
            reason = str(error)
        except Exception as error:  # onnxruntime's exceptions share no base class
            reason = f"its rows do not run together ({error})"
    if proved == "off":
        size = None
    return WarmUp(proved, reason, size, _measure(run, inputs, size), inputs, outputs)


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


def declared_batching(specs: Sequence[TensorSpec]) -> tuple[bool, int | None]:
    """What the graph declares: whether all inputs share a first axis, and its length where that is fixed."""
    lengths = {spec.shape[0] if spec.shape else 0 for spec in specs}
    length = lengths.pop() if len(lengths) == 1 else 0
    return length != 0, length if length > 0 else None


def _sample(
    run: Run, specs: Sequence[TensorSpec], given: Tensors | None, shared: bool, size: int | None, deadline: float
) -> tuple[Guess | None, Tensors, Tensors] | str:
    """The guess that ran (None for given inputs), the inputs of one row and their outputs; or why there are none."""
    if given is not None:
        inputs = take(given, [0] * (size or 1)) if shared and all(map(len, given.values())) else given
        try:
            return None, inputs, run(inputs)
        except Exception as error:  # onnxruntime's exceptions share no base class
            return f"the inputs of WARM_UP do not run ({error})"
    first_error = ""
    for guess in guesses(specs):
        try:
            inputs = guess.rows(specs, 1)
            return guess, inputs, run(inputs)
        except Exception as error:
            first_error = first_error or str(error)
        if monotonic() > deadline:
            break
    return f"no inputs could be guessed that run ({first_error})"


def _prove_all(
    run: Run, specs: Sequence[TensorSpec], guess: Guess | None, given: Tensors | None, size: int | None, deadline: float
) -> bool:
    """Whether every proof was bit for bit; raises `NotProved`."""

    def run_rows(inputs: Tensors) -> Tensors:
        outputs = run_in_batches(run, inputs, size)
        if wrong := [name for name, value in outputs.items() if value.ndim == 0]:
            raise NotProved(f"{wrong[0]} is a scalar")
        return outputs

    if guess is None:
        assert given is not None
        count = min(map(len, given.values()))
        if count < 2 or len({*map(len, given.values())}) > 1:
            raise NotProved("WARM_UP has fewer than two rows")
        samples: Iterator[Tensors] = iter([take(given, list(range(min(count, ROWS))))])
    elif guess.first != 1:
        raise NotProved("a single row does not run")
    else:
        samples = _more_samples(run, specs, guess, size)
    exact, told_apart = True, False
    for rows in samples:
        count = len(next(iter(rows.values())))
        alone = list(range(count)) if size is None else sorted({0, count // 2, count - 1})
        together = sorted({min(2, count), min(3, count), count}) if size is None else [count]
        same, differ = prove(run_rows, rows, alone, together, deadline)
        exact, told_apart = exact and same, told_apart or differ
    if not told_apart:
        raise NotProved("no inputs could be guessed for which rows differ")
    return exact


def _more_samples(run: Run, specs: Sequence[TensorSpec], guess: Guess, size: int | None) -> Iterator[Tensors]:
    """Rows of both kinds that differ, of the guess's length, the next longer one, and one that is long enough."""
    has_free_axes = any(ANY in spec.shape[1:] for spec in specs)
    left, longest = (3 if has_free_axes else 1), 0
    for length in (n for n in LENGTHS if n >= guess.length):
        if not left or (left == 1 and longest and length < ENOUGH_LENGTH):
            continue
        ran = False
        for kind in ("signed", "positive"):
            one = Guess(length, 1, kind)
            if not one.is_small(specs):  # two free axes of this length
                continue
            rows = [one._replace(kind=kind).rows(specs, ROWS)] if size is None else _fixed_rows(one, specs, size)
            try:
                run_in_batches(run, take(rows[0], [0]), size)
            except Exception:  # another length or kind may run
                continue
            ran, longest = True, length
            yield from rows
        left -= ran


def _fixed_rows(guess: Guess, specs: Sequence[TensorSpec], size: int) -> list[Tensors]:
    """Two runs' worth of distinct rows for a graph that fixes their number."""
    free = [spec._replace(shape=(ANY, *spec.shape[1:])) for spec in specs]
    return [guess.rows(free, max(2, size))]


def _measure(run: Run, inputs: Tensors, size: int | None) -> float:
    """The seconds of the quickest of a few runs."""
    started = perf_counter()
    rounds = takewhile(lambda number: not number or perf_counter() - started < MEASURE_SECONDS, range(MEASUREMENTS))
    return min(_seconds(run, inputs, size) for _ in rounds)


def _seconds(run: Run, inputs: Tensors, size: int | None) -> float:
    started = perf_counter()
    run_in_batches(run, inputs, size)
    return perf_counter() - started


def _split(inputs: Tensors, rows: int, size: int) -> Iterator[Tensors]:
    for start in range(0, rows, size):
        index = np.minimum(np.arange(start, start + size), rows - 1)
        yield {name: value[index] for name, value in inputs.items()}
