"""Tensors as bytes: little-endian elements row by row; a string is its length in 4 bytes, then itself in UTF-8.

The binary extension of the REST protocol and gRPC's raw contents share this format.
"""

import struct
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.inference.tensor_spec import TensorSpec
from common.open_inference.datatypes import BYTES, DTYPES, datatype
from common.open_inference.tensor_check import check_count
from common.service.problems import Problem

LENGTH = struct.Struct("<I")


def from_binary(data: bytes | memoryview, spec: TensorSpec, shape: Sequence[int]) -> NDArray[Any]:
    """The array of this shape; raises `Problem` 400."""
    if spec.dtype.kind == "O":
        strings = _strings(data, spec.name)
        check_count(spec.name, len(strings), shape)
        return np.array(strings, object).reshape(shape)
    size = prod(shape) * spec.dtype.itemsize
    if len(data) != size:
        raise Problem(400, f"input {spec.name}: expected {size} bytes for {list(shape)}, got {len(data)}")
    if spec.dtype.kind == "b":
        flags: NDArray[Any] = np.frombuffer(data, np.uint8) != 0  # onnxruntime expects 0 or 1 in each byte
        return flags.reshape(shape)
    # The bytes begin wherever the JSON ended. onnxruntime adds up numbers that are aligned otherwise in another order.
    return np.frombuffer(data, spec.dtype.newbyteorder("<")).reshape(shape).copy()


def from_answer(data: bytes, name: str, shape: Sequence[int]) -> NDArray[Any]:
    """The array of this shape in an answer that says its datatype; raises `KeyError` for another, and `ValueError`."""
    dtype = DTYPES[name]
    if dtype.kind != "O":
        return np.frombuffer(data, dtype).reshape(shape)
    try:
        return np.array(_strings(data, "strings"), object).reshape(shape)
    except Problem as problem:
        raise ValueError(problem.detail) from None


def to_binary(values: NDArray[Any]) -> bytes:
    """The bytes of the elements, row by row."""
    name = datatype(values.dtype)
    if name != BYTES:
        return values.astype(DTYPES.get(name, values.dtype), copy=False).tobytes()
    parts: list[bytes] = []
    for value in values.flat:
        text = value if isinstance(value, bytes) else str(value).encode()
        parts += (LENGTH.pack(len(text)), text)
    return b"".join(parts)


def _strings(data: bytes | memoryview, name: str) -> list[str]:
    strings: list[str] = []
    start = 0
    try:
        while start < len(data):
            (length,) = LENGTH.unpack_from(data, start)
            start += LENGTH.size
            if start + length > len(data):
                raise Problem(400, f"input {name}: a string of {length} bytes goes beyond the end of its tensor")
            strings.append(str(data[start : start + length], "utf-8"))
            start += length
    except struct.error:
        raise Problem(400, f"input {name}: expected a length of 4 bytes before each string, got fewer") from None
    except UnicodeDecodeError:
        raise Problem(400, f"input {name}: expected strings in UTF-8, got other bytes") from None
    return strings
