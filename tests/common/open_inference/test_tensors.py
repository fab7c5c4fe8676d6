"""Decoding tensors: whatever bytes or JSON come, the answer is a tensor of the right shape or a `Problem`."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from numpy.typing import NDArray

from common.inference.model import Model
from common.inference.tensor_spec import Tensors, TensorSpec
from common.open_inference.datatypes import DTYPES
from common.open_inference.rest_body import read_inputs, read_request
from common.open_inference.tensor_check import TensorCheck
from common.open_inference.tensors_binary import from_binary, to_binary
from common.open_inference.tensors_json import from_json_data, to_json_data
from common.service.problems import Problem
from tests.support.open_inference.tensors import described, every_type, in_binary, in_json, values

types = st.sampled_from(sorted(DTYPES))
shapes = st.lists(st.integers(1, 5), max_size=3)
numbers = st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=3)
data = st.recursive(numbers, lambda inner: st.lists(inner, max_size=6), max_leaves=12)


@cache
def check() -> TensorCheck:
    with tempfile.TemporaryDirectory() as folder:
        return TensorCheck(Model.load(every_type(Path(folder) / "every_type.onnx")))


def spec(name: str) -> TensorSpec:
    return TensorSpec("x", DTYPES[name], ())


def is_a_tensor(values: NDArray[Any], name: str, shape: list[int]) -> None:
    assert values.shape == tuple(shape)
    assert values.dtype == DTYPES[name]
    assert values.flags.aligned
    assert name != "BYTES" or all(type(text) is str for text in values.flat)


@given(types, shapes, st.binary(max_size=300))
@example("BYTES", [1], b"\xff\xff\xff\xff")
@example("BYTES", [1], b"\1\0\0\0\xff")
@example("FP32", [2**31, 2**31], b"")
def test_any_bytes(name: str, shape: list[int], content: bytes) -> None:
    try:
        is_a_tensor(from_binary(memoryview(content), spec(name), shape), name, shape)
    except Problem as problem:
        assert problem.status_code == 400


@given(types, shapes, data)
@example("UINT64", [2], [2**64, 1])
@example("INT64", [1], [10**400])
@example("FP32", [1], [-(10**400)])
@example("BYTES", [2], [["a"], ["b", "c"]])
def test_any_json(name: str, shape: list[int], elements: object) -> None:
    try:
        is_a_tensor(from_json_data(elements, spec(name), shape), name, shape)
    except Problem as problem:
        assert problem.status_code == 400
        assert len(problem.detail) < 400


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 8))
def test_written_tensors_are_read_back_unchanged(seed: int, rows: int, offset: int) -> None:
    for name, array in values(rows, seed).items():
        type_, shape = name.removeprefix("in_"), list(array.shape)
        content = memoryview(bytes(offset) + to_binary(array))[offset:]
        np.testing.assert_array_equal(from_binary(content, spec(type_), shape), array)
        written = json.loads(json.dumps(to_json_data(array)))
        np.testing.assert_array_equal(from_json_data(written, spec(type_), shape), array)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (2, 0, 2), (0, 3), (1, 2, 0)])
def test_lists_without_elements_are_read_as_their_shape_says(shape: tuple[int, ...]) -> None:
    empty = np.empty(shape, np.float32)
    assert from_json_data(empty.tolist(), spec("FP32"), shape).shape == shape
    assert from_json_data([], spec("FP32"), shape).shape == shape


def request(seed: int) -> tuple[bytes, bytes]:
    inputs = values(2, seed)
    tensors = described(inputs)
    for each, part in zip(tensors, in_binary(inputs), strict=True):
        each["parameters"] = {"binary_data_size": len(part)}
    return json.dumps({"inputs": tensors}).encode(), b"".join(in_binary(inputs))


def decoded(body: bytes, length: str | None) -> tuple[Tensors, int | None]:
    return check().complete(read_inputs(*read_request(body, length, check().lists_per_element), check()))


@pytest.mark.parametrize(
    ("elements", "shape", "lists"),
    [
        ([[1]] * 100_000, (100_000, 1), 1),
        ([[[1]]] * 100_000, (100_000, 1, 1), 2),
        ([[1, 2]] * 100_000, (100_000, 2), 1 / 2),
        (["[]{}", '"[]', "\\", '\\"[]'] * 20_000, (80_000,), 0),
    ],
)
def test_a_long_right_request_is_read_however_nested(elements: list[Any], shape: tuple[int, ...], lists: float) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": shape, "data": elements}
    body = json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()
    assert read_request(body, None, lists)[0].inputs[0].data == elements
    if lists:
        with pytest.raises(Problem, match="lists and objects"):
            read_request(body, None, lists / 2)


@given(st.integers(0, 100), st.data())
def test_a_damaged_request(seed: int, choose: st.DataObject) -> None:
    """Bytes changed, removed, put in anywhere, or another length of the JSON: tensors or a Problem."""
    head, tail = request(seed)
    body = bytearray(head + tail)
    start = choose.draw(st.integers(0, len(body)))
    end = start + choose.draw(st.integers(0, 8))
    body[start:end] = choose.draw(st.binary(max_size=8))
    length = choose.draw(st.just(len(head)) | st.integers(0, len(body) + 2))
    try:
        inputs, rows = decoded(bytes(body), str(length))
    except Problem as problem:
        assert problem.status_code == 400
    else:
        assert rows == 2
        assert all(array.shape == (2, 2) for array in inputs.values())


@given(st.binary(max_size=200), st.none() | st.text(max_size=20))
def test_any_body(body: bytes, length: str | None) -> None:
    with pytest.raises(Problem) as caught:
        decoded(body, length)
    assert caught.value.status_code == 400


json_values = st.recursive(
    numbers, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@given(
    st.sampled_from(["name", "datatype", "shape", "data", "parameters"]),
    json_values | st.fixed_dictionaries({"binary_data_size": json_values}),
    st.integers(0, 12),
)
def test_any_value_of_a_member(member: str, value: object, place: int) -> None:
    body = in_json(values(1, 0))
    body["inputs"][place][member] = value
    try:
        inputs, rows = decoded(json.dumps(body).encode(), None)
    except Problem as problem:
        assert problem.status_code == 400
    else:
        assert rows == 1
        assert all(array.shape == (1, 2) for array in inputs.values())
