"""Tensors in the protocol's JSON: `data` is a list of the elements, flat or nested as the shape is.

`NaN` and `Infinity` are written and read as such, as Python and Triton do, though RFC 8259 has neither: `null` would
not say which of them it was.
"""

from collections.abc import Sequence
from reprlib import repr as short_repr
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.inference.tensor_spec import TensorSpec
from common.open_inference.tensor_check import check_count
from common.service.problems import Problem

FITTING = {"f": "fiu", "i": "iu", "u": "iu", "b": "b", "O": "O"}
"""By the kind of a dtype, the kinds of numpy arrays that the JSON may hold for it."""
EXPECTED = {"f": "numbers", "i": "whole numbers", "u": "whole numbers", "b": "true or false", "O": "strings"}


def from_json_data(data: object, spec: TensorSpec, shape: Sequence[int]) -> NDArray[Any]:
    """The array of this shape; raises `Problem` 400."""
    kind = spec.dtype.kind
    if isinstance(data, list) and data and not isinstance(data[0], list):
        check_count(spec.name, len(data), shape)  # before a million elements are converted, only to be refused
    try:
        # Without a dtype numpy reports what it found; with one it would convert silently.
        found = np.array(data, object if kind == "O" else None)
        if not found.size:  # of an empty list numpy finds floats
            found = found.astype(spec.dtype)
        if kind == "u" and found.dtype.kind == "f":
            found = _to_uint64(data)
        if kind == "f" and found.dtype.kind == "O":
            found = _to_float64(found)
        if found.dtype.kind not in FITTING[kind] or (kind == "O" and not all(type(v) is str for v in found.flat)):
            raise ValueError
        values = _convert(found, spec.dtype)
    except (ValueError, TypeError, ArithmeticError):
        expected = f"expected a list of {EXPECTED[kind]} that fit {spec.dtype.name}"
        raise Problem(400, f"input {spec.name}: {expected}, got {short_repr(data)}") from None
    check_count(spec.name, values.size, shape)
    if values.ndim != 1 and values.shape != tuple(shape[: values.ndim] if not values.size else shape):
        got = f"got lists of the shape {list(values.shape)}"
        raise Problem(400, f"input {spec.name}: expected a flat list, or lists of the shape {list(shape)}, {got}")
    return values.reshape(shape)


def to_json_data(values: NDArray[Any]) -> list[Any]:
    """The elements, flat, row by row."""
    elements: list[Any] = values.ravel().tolist()
    return elements


def _convert(found: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if found.dtype == dtype:
        return found
    if dtype.kind in "iu" and found.size:
        limits = np.iinfo(dtype)
        if int(found.min()) < limits.min or int(found.max()) > limits.max:
            raise OverflowError
    with np.errstate(over="raise"):  # 1e39 is no float32
        return found.astype(dtype)


def _to_float64(found: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers from 2^64 up, for which numpy has no type: JavaScript writes 1e20 as one."""
    if not all(type(value) in (int, float) for value in found.flat):
        raise ValueError
    return found.astype(np.float64)


def _to_uint64(data: object) -> NDArray[Any]:
    """Whole numbers above 2^63, which numpy would read as floats, as UINT64."""
    found = np.array(data, object)
    if not all(type(value) is int for value in found.flat):
        raise ValueError
    return found.astype(np.uint64)
