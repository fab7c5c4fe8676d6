"""The warm-up: runs a model at start, and finds out whether requests may share a run and how long a row takes.

What cannot be proved is run request by request; a model that no guess makes run is served all the same.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import takewhile
from time import monotonic, perf_counter
from typing import NamedTuple

import numpy as np

from common.inference.fixed_batches import run_in_batches
from common.inference.proof.batch_proof import NotProved, prove, prove_beside, prove_neighbours, prove_rows, take
from common.inference.proof.sample_inputs import WIDE, Guess, guesses
from common.inference.proof.samples import ENOUGH_LENGTH, GIVEN, Sample, contrasting_rows, samples
from common.inference.tensor_spec import Run, Tensors, TensorSpec

MEASUREMENTS = 20
MEASURE_SECONDS = 0.5
MAX_PROOF_ELEMENTS = 2**24
"""Of the inputs of the longest run in a proof: 64 MiB of float32. Of large rows, fewer are tried together."""

LAST_BITS = "the last bits of a row's answer depend on how many rows run (BATCHING=on shares runs all the same)"

MAX_FIXED_ROWS = 64
"""A graph that fixes more for its first axis hardly counts requests with it."""


class WarmUp(NamedTuple):
    """How a model takes batches, what one row took once it was warm, and one sample run.

    `batching`: "exact" (rows that share a run get, bit for bit, what they get alone), "trusted" (BATCHING=on, not
    proved) or "off"; `reason` says why it is off. `rows_are_independent`: rows that share a run get what they get
    alone, at least up to rounding. `fixed_batch_size`: the rows that the graph fixes for each run; None: any number.
    `inputs` and `outputs` are None if no inputs were found that run.
    """

    batching: str
    reason: str
    rows_are_independent: bool = False
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
    most_rows: int = 64,
    mixes_rows: str = "",
) -> WarmUp:
    """Find inputs that run (or take the `given` ones), then prove that rows are independent; both within `seconds`.

    `most_rows`: the rows of the longest batch. `mixes_rows`: what is known already to make rows depend on each other;
    such a model is not batched.
    """
    deadline = monotonic() + seconds
    shared, size = declared_batching(specs)
    found = _sample(run, specs, given, shared, size, deadline)
    if isinstance(found, str):
        return WarmUp("trusted", found, True, size) if batching == "on" and shared else WarmUp("off", found)
    guess, inputs, outputs = found
    proved, reason, independent = "off", "BATCHING=off", False
    if batching == "on" and shared:
        reason = _mixed_up(run, inputs, size)
        if not reason:
            proved, reason, independent = "trusted", "BATCHING=on", True
    elif batching != "off":
        try:
            if not shared:
                raise NotProved("its inputs have no first axis in common")
            if size and size > MAX_FIXED_ROWS:
                raise NotProved(f"its graph fixes {size} rows for each run")
            if mixes_rows and size != 1:
                raise NotProved(mixes_rows)
            exact = _prove_all(run, samples(run, specs, guess, given, size), size, most_rows, deadline)
            independent = exact or size is None
            if not exact:
                raise NotProved(LAST_BITS)
            proved, reason = "exact", ""
        except NotProved as error:
            reason = str(error)
        except Exception as error:  # onnxruntime's exceptions share no base class
            reason = f"its rows do not run together ({error})"
    if proved == "off":
        size = None
    return WarmUp(proved, reason, independent, size, _measure(run, inputs, size), inputs, outputs)


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


def _mixed_up(run: Run, inputs: Tensors, size: int | None) -> str:
    """Why the outputs of a shared run cannot be split into rows, even with BATCHING=on; empty if they can be."""
    try:
        prove_rows(partial(run_in_batches, run, size=size), take(inputs, [0]), (2, 3))
    except NotProved as error:
        return f"BATCHING=on, but {error}"
    except Exception:  # these inputs do not run together, but others may
        return ""
    return ""


def _prove_all(run: Run, rows_by_kind: Iterator[Sample], size: int | None, most_rows: int, deadline: float) -> bool:
    """Whether every proof was bit for bit; raises `NotProved`."""

    def run_rows(inputs: Tensors) -> Tensors:
        outputs = run_in_batches(run, inputs, size)
        if wrong := [name for name, value in outputs.items() if value.ndim == 0]:
            raise NotProved(f"{wrong[0]} is a scalar")
        return outputs

    exact, any_differ, kind = True, False, ""
    contrasted: Tensors | None = None
    for kind, rows in rows_by_kind:
        prove_neighbours(run_rows, rows, deadline)
        if kind == WIDE and any_differ:  # numbers so large that their rounding is, too
            continue
        count = len(next(iter(rows.values())))
        alone = list(range(count)) if size is None else sorted({0, count // 2, count - 1})
        together = sorted({min(2, count), min(3, count), count}) if size is None else [count]
        same, differ = prove(run_rows, rows, alone, together, deadline)
        exact, any_differ = exact and same, any_differ or differ
        most = _rows_of_longest_run(rows, most_rows)
        if size is None and most > count:
            exact &= prove(run_rows, rows, alone, [most], deadline)[0]
        most_rows = 0  # a number of rows acts alike on all samples: the first, and shortest, is enough
        if contrasted is None or _fewest_elements(contrasted) < ENOUGH_LENGTH:
            contrasted = rows
    if contrasted is None:
        raise NotProved("no two rows could be guessed that run")
    if size != 1:
        for number, (row, others) in enumerate(contrasting_rows(run, contrasted, size)):
            prove_beside(run_rows, row, others, number % 2 == 0, deadline)
    if not any_differ:
        source = "the rows of WARM_UP" if kind == GIVEN else "all rows that could be guessed"
        raise NotProved(f"{source} get one and the same answer")
    return exact


def _fewest_elements(rows: Tensors) -> int:
    """Of the inputs of one row."""
    return min(int(np.prod(value.shape[1:])) for value in rows.values())


def _rows_of_longest_run(rows: Tensors, most: int) -> int:
    elements = sum(value.size // len(value) for value in rows.values())
    return min(most, MAX_PROOF_ELEMENTS // max(1, elements))


def _measure(run: Run, inputs: Tensors, size: int | None) -> float:
    """The seconds of the quickest of a few runs."""
    started = perf_counter()
    rounds = takewhile(lambda number: not number or perf_counter() - started < MEASURE_SECONDS, range(MEASUREMENTS))
    return min(_seconds(run, inputs, size) for _ in rounds)


def _seconds(run: Run, inputs: Tensors, size: int | None) -> float:
    started = perf_counter()
    run_in_batches(run, inputs, size)
    return perf_counter() - started
