"""Rows as different as rows can be: of values with which a graph may compare its whole run, to treat all rows alike.

A graph that divides every picture by 255 if any pixel is above 1, or pads every text to the longest, shows it only
where a row on one side of such a bound runs beside a row on its other side.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.inference.tensor_spec import Tensors

Limits = dict[str, tuple[Any, Any]]
"""By input, the least and the largest value that it is filled with; of floats whole ones if these are integers."""

FLOATS = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e13)
INTEGERS = (1, 10, 100, 10**3, 10**4, 10**5, 10**6, 10**7)
"""In small steps, since a number may be a length; the largest of its type comes last."""
USUAL = 100
"""Up to here, values between zero and a magnitude are tried too, not only those between it and its double."""
WHOLE_FLOATS = ((1, 1), (0, 2), (0, 256))
"""A mask of ones, a mask, the pixels of a picture."""
STRINGS = ("5", "250", "a", "a b", "a" * 100, "one, two;three|four\tfive\nsix-seven_eight.nine/ten:" + "eleven" * 50)
"""Numbers; one word and several, by each separator that a graph may split at, the longest last."""


def unusual(row: Tensors) -> list[Limits]:
    """All floats NaN, infinite, the largest of their type, or whole, like the pixels of a picture, which come last."""
    return _each({name: _unusual(value.dtype) for name, value in row.items() if value.dtype.kind == "f"})


def ladders(row: Tensors) -> Iterator[tuple[list[Limits], list[Limits]]]:
    """Values for all floats of a row, then for its whole numbers, its booleans, its strings.

    Of each kind, those from zero downwards, and those from there upwards.
    """
    for kinds in ("f", "iu", "b", "O"):
        dtypes = {name: value.dtype for name, value in row.items() if value.dtype.kind in kinds}
        down, up = ({name: _ranges(dtype, sign) for name, dtype in dtypes.items()} for sign in (-1, 1))
        yield _each(down), _each(up)


def fill(row: Tensors, limits: Limits) -> Tensors:
    """This row with other values, which are in no input the same as in another."""
    return row | {name: _values(row[name], *pair, name) for name, pair in limits.items()}


def _each(ranges: dict[str, list[tuple[Any, Any]]]) -> list[Limits]:
    """The first range of each input, the second of each, and so on, none twice."""
    return [dict(zip(ranges, pairs, strict=True)) for pairs in dict.fromkeys(zip(*ranges.values(), strict=True))]


def _unusual(dtype: np.dtype[Any]) -> list[tuple[Any, Any]]:
    largest = np.finfo(dtype).max
    return [*((number, number) for number in (np.nan, np.inf, -np.inf, largest, -largest)), *WHOLE_FLOATS]


def _ranges(dtype: np.dtype[Any], sign: int) -> list[tuple[Any, Any]]:
    if dtype.kind == "b":
        return [(sign > 0, sign > 0)]
    if dtype.kind == "O":
        return [(text, text) for text in (STRINGS if sign > 0 else ("",))]
    is_float = dtype.kind == "f"
    largest = float(np.finfo(dtype).max) if is_float else int(np.iinfo(dtype).max)
    pairs: list[tuple[Any, Any]] = [(0, 0), (1, 1)]
    for magnitude in FLOATS if is_float else INTEGERS:
        pairs += [(0 * magnitude, magnitude)] if magnitude <= USUAL else []
        pairs += [(magnitude if is_float else magnitude + 1, 2 * magnitude)]  # above round numbers, which bounds are
    if not is_float:
        pairs += [(largest, largest)]
    if sign > 0:
        return [(min(low, largest), min(high, largest)) for low, high in pairs]
    least = 0 if dtype.kind == "u" else -largest
    return [(max(-high, least), max(-low, least)) for low, high in pairs]


def _values(like: NDArray[Any], low: Any, high: Any, name: str) -> NDArray[Any]:
    values = np.full_like(like, low)
    if low is high or low == high:
        return values
    shares = np.random.default_rng([*f"{name} {low} {high}".encode()]).random(like.shape)
    if isinstance(high, float):
        return np.asarray(low + shares * (high - low), like.dtype)
    shares.flat[:1], shares.flat[-1:] = 1, 0  # of 0 to 1 one element only; and zeros at the end may be padding
    values += np.floor(shares * (high - low)).astype(like.dtype)
    return values
