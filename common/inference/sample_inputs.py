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
    tried: set[tuple[int, ...]] = set()
    for length in LENGTHS:
        for first in dict.fromkeys((1, length)):
            sizes = [int(np.prod(Guess(length, first, "")._shape(spec, 1), dtype=float)) for spec in specs]
            if sum(sizes) > MAX_ELEMENTS or (*sizes,) in tried:
                continue
            tried.add((*sizes,))
            yield from (Guess(length, first, kind) for kind in KINDS)


def _values(random: np.random.Generator, dtype: np.dtype[Any], shape: list[int], kind: str, first: int) -> NDArray[Any]:
    """Each row has its own values and, of floats, its own range, which a scale over the whole batch would blur."""
    if kind in ("ones", "zeros"):
        return np.full(shape, ("" if kind == "zeros" else "a") if dtype.kind == "O" else kind == "ones", dtype)
    if dtype.kind == "f":
        scales = 2.0 ** (np.arange(shape[0]) // first % 5 - 2) if shape else np.ones(())
        values = random.standard_normal(shape) if kind == "signed" else random.random(shape)
        return np.asarray(values * scales.reshape(-1, *[1] * (len(shape) - 1)) if shape else values).astype(dtype)
    if dtype.kind == "O":
        return np.array([f"{number}" for number in range(int(np.prod(shape)))], object).reshape(shape)
    most = 255 if dtype == np.uint8 and kind == "signed" else 3 if kind == "signed" else 1
    return np.asarray(random.integers(0, most, shape, endpoint=True)).astype(dtype)
