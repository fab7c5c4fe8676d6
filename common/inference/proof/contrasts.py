"""Rows as different as rows can be: of values with which a graph may compare its whole run, to treat all rows alike.

A graph that divides every picture by 255 if any pixel is above 1, or pads every text to the longest, shows it only
where a row on one side of such a bound runs beside a row on its other side.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.inference.tensor_spec import Tensors

FLOATS = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e6, 1e9, 1e13)
INTEGERS = (1, 10, 100, 10**3, 10**4, 10**5, 10**6, 10**7)
"""The small ones first, since a whole number may be a length; the largest of its type comes last."""
STRINGS = ("a", "a b", "a" * 100, "one, two;three|four\tfive\nsix-seven_eight.nine/ten:" + "eleven" * 50)
"""Of one word and of several, by each separator that a graph may split at, the longest last."""


def extremes(row: Tensors) -> list[Tensors]:
    """This row with all floats NaN, infinite, or the largest of their type."""
    return _replaced(row, {name: _extremes(value) for name, value in row.items() if value.dtype.kind == "f"})


def ladders(row: Tensors) -> Iterator[tuple[list[Tensors], list[Tensors]]]:
    """This row with other floats, then with other whole numbers, booleans, strings.

    Of each kind, the rows from zero downwards, and those from there upwards.
    """
    for kinds, rungs in (("f", _numbers), ("iu", _numbers), ("b", _booleans), ("O", _strings)):
        of_kind = {name: value for name, value in row.items() if value.dtype.kind in kinds}
        down, up = ({name: rungs(value, sign) for name, value in of_kind.items()} for sign in (-1, 1))
        yield _replaced(row, down), _replaced(row, up)


def _replaced(row: Tensors, values: dict[str, list[NDArray[Any]]]) -> list[Tensors]:
    """This row with the first of these values, with the second, and so on, none twice."""
    rungs = [dict(zip(values, each, strict=True)) for each in zip(*values.values(), strict=True)]
    unique = {b"".join(value.tobytes() for value in rung.values()): rung for rung in rungs}
    return [row | rung for rung in unique.values()]


def _extremes(like: NDArray[Any]) -> list[NDArray[Any]]:
    largest = np.finfo(like.dtype).max
    return [np.full_like(like, number) for number in (np.nan, np.inf, -np.inf, largest, -largest)]


def _numbers(like: NDArray[Any], sign: int) -> list[NDArray[Any]]:
    """For each magnitude, values between zero and it, then values between it and its double."""
    is_float = like.dtype.kind == "f"
    largest = float(np.finfo(like.dtype).max) if is_float else int(np.iinfo(like.dtype).max)
    shares = np.random.default_rng(0).random(like.shape)
    values = [np.zeros_like(like)]
    for magnitude in FLOATS if is_float else INTEGERS:
        step = min(magnitude, largest // 2)
        below = np.asarray(shares * step if is_float else (shares * step).round()).astype(like.dtype)
        values += [below, below + like.dtype.type(step)]
    if not is_float:
        values += [np.full_like(like, largest // 2 + 1), np.full_like(like, largest)]
        values[0].flat[:1] = sign > 0  # and zeros after it, as in a padded row
    if sign > 0:
        return values
    return [np.zeros_like(value) if like.dtype.kind == "u" else np.negative(value) for value in values]


def _booleans(like: NDArray[Any], sign: int) -> list[NDArray[Any]]:
    return [np.full_like(like, sign > 0)]


def _strings(like: NDArray[Any], sign: int) -> list[NDArray[Any]]:
    return [np.full_like(like, text) for text in (STRINGS if sign > 0 else ("",))]
