"""Inputs for the warm-up, guessed from a graph's names, types and shapes: rows that a model can tell apart."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.inference.tensor_spec import ANY, Tensors, TensorSpec

LENGTHS = (1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 4_096, 16_384, 65_536)
"""Tried for free axes: graphs that pad, downsample or split a signal need a minimum."""
MAX_ELEMENTS = 2**22
"""Of one row; longer axes than that are not tried."""
KINDS = ("signed", "positive", "ones", "zeros")
"""Of values: a graph may reject some, such as an index beyond its table."""
WIDE = "wide"
"""Values for a proof only: each row reaches further than the one before, over thresholds that a graph may have."""


class Guess(NamedTuple):
    """How inputs are made: the length of free axes, the length of a free first axis for one row, the kind of values."""

    length: int
    first: int
    kind: str

    def rows(self, specs: Sequence[TensorSpec], count: int) -> Tensors:
        """`count` rows, one after another along the first axis; where that is fixed, it has its own length."""
        random = np.random.default_rng(0)
        return {
            spec.name: _values(random, spec.dtype, self._shape(spec, count), self.kind, self.first) for spec in specs
        }

    def is_small(self, specs: Sequence[TensorSpec]) -> bool:
        """Whether one row has few enough elements to be tried."""
        return sum(float(np.prod(self._shape(spec, 1), dtype=float)) for spec in specs) <= MAX_ELEMENTS

    def _shape(self, spec: TensorSpec, count: int) -> list[int]:
        lengths = [self.length if length == ANY else length for length in spec.shape]
        return [count * self.first, *lengths[1:]] if spec.shape[:1] == (ANY,) else lengths


def guesses(specs: Sequence[TensorSpec]) -> Iterator[Guess]:
    """Guesses for one row, each of another shape or with other values, the shortest first."""
    tried: set[tuple[tuple[int, ...], ...]] = set()
    for length in LENGTHS:
        for first in dict.fromkeys((1, length)):
            guess = Guess(length, first, "")
            shapes = tuple([tuple(guess._shape(spec, 1)) for spec in specs])
            if not guess.is_small(specs) or shapes in tried:
                continue
            tried.add(shapes)
            yield from (Guess(length, first, kind) for kind in KINDS)


def _values(random: np.random.Generator, dtype: np.dtype[Any], shape: list[int], kind: str, first: int) -> NDArray[Any]:
    """Each row has its own values and, of floats, its own range, which a scale over the whole batch would blur."""
    if kind in ("ones", "zeros"):
        return np.full(shape, ("" if kind == "zeros" else "a") if dtype.kind == "O" else kind == "ones", dtype)
    if dtype.kind == "f":
        row = np.arange(shape[0]) // first if shape else np.zeros(())
        scales = 10.0 ** (row % 8 - 3) if kind == WIDE else 2.0 ** (row % 5 - 2)
        values = random.random(shape) if kind == "positive" else random.standard_normal(shape)
        return np.asarray(values * scales.reshape(-1, *[1] * (len(shape) - 1)) if shape else values).astype(dtype)
    if dtype.kind == "O":
        return np.array([f"{number}" for number in range(int(np.prod(shape)))], object).reshape(shape)
    if kind == WIDE and dtype.kind in "iu" and shape:
        limits = np.minimum(4 ** (np.arange(shape[0]) // first % 8 + 1), min(np.iinfo(dtype).max, 4**8))
        return random.integers(0, limits.reshape(-1, *[1] * (len(shape) - 1)), shape, endpoint=True).astype(dtype)
    most = 255 if dtype == np.uint8 and kind == "signed" else 3 if kind == "signed" else 1
    return np.asarray(random.integers(0, most, shape, endpoint=True)).astype(dtype)
