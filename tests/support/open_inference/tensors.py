"""Models of many types of tensors, made for a test, and what onnxruntime itself answers for them."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from common.open_inference.tensors_binary import to_binary
from tests.support.models.onnx_models import save, tensor
from tests.support.samples import SEVEN_PIXELS

Arrays = dict[str, NDArray[Any]]

SEVEN_TENSOR: Arrays = {"features": np.array([SEVEN_PIXELS], np.float32)}
"""What the mlp reads as a seven."""

KINDS: dict[str, tuple[int, str]] = {
    "BOOL": (TensorProto.BOOL, "?"),
    "UINT8": (TensorProto.UINT8, "u1"),
    "UINT16": (TensorProto.UINT16, "u2"),
    "UINT32": (TensorProto.UINT32, "u4"),
    "UINT64": (TensorProto.UINT64, "u8"),
    "INT8": (TensorProto.INT8, "i1"),
    "INT16": (TensorProto.INT16, "i2"),
    "INT32": (TensorProto.INT32, "i4"),
    "INT64": (TensorProto.INT64, "i8"),
    "FP16": (TensorProto.FLOAT16, "f2"),
    "FP32": (TensorProto.FLOAT, "f4"),
    "FP64": (TensorProto.DOUBLE, "f8"),
    "BYTES": (TensorProto.STRING, "O"),
}
"""By the protocol's name: ONNX's type, numpy's."""


def every_type(path: Path) -> str:
    """An input `in_TYPE` of each type, two elements a row, and what came in as `out_TYPE`; and `sum` = FP32 + FP64."""
    types = list(KINDS)
    nodes = [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in types]
    nodes.append(helper.make_node("Cast", ["in_FP32"], ["wide"], to=TensorProto.DOUBLE))
    nodes.append(helper.make_node("Add", ["wide", "in_FP64"], ["sum"]))
    inputs = [tensor(f"in_{name}", ["n", 2], KINDS[name][0]) for name in types]
    outputs = [tensor(f"out_{name}", ["n", 2], KINDS[name][0]) for name in types]
    return save(path, nodes, inputs, [*outputs, tensor("sum", ["n", 2], TensorProto.DOUBLE)])


def values(rows: int, seed: int, *types: str) -> Arrays:
    """Values from the whole range of each type (or of these types), as inputs of the model above."""
    random = np.random.default_rng(seed)
    return {f"in_{name}": _values(random, KINDS[name][1], (rows, 2)) for name in types or KINDS}


def _values(random: np.random.Generator, dtype: str, shape: tuple[int, int]) -> NDArray[Any]:
    if dtype == "O":
        return np.array([[f"{n} ü\0{'x' * int(n)}" for n in row] for row in random.integers(0, 9, shape)], object)
    if dtype[0] in "iu":
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return random.integers(0, 2, shape).astype("?") if dtype == "?" else random.normal(size=shape).astype(dtype)


def by_onnxruntime(uri: str, inputs: Arrays) -> Arrays:
    """What the model answers when it is asked directly."""
    session = ort.InferenceSession(uri)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def datatype_of(array: NDArray[Any]) -> str:
    return next(name for name, (_, dtype) in KINDS.items() if np.dtype(dtype) == array.dtype)


def described(inputs: Arrays) -> list[dict[str, Any]]:
    """The inputs as a request has them, without their elements."""
    return [{"name": n, "datatype": datatype_of(a), "shape": list(a.shape)} for n, a in inputs.items()]


def in_json(inputs: Arrays, **request: object) -> dict[str, Any]:
    """A request in JSON."""
    tensors = described(inputs)
    for each, array in zip(tensors, inputs.values(), strict=True):
        each["data"] = array.ravel().tolist()
    return {"inputs": tensors} | request


def from_json(answer: httpx.Response) -> Arrays:
    """The outputs of an answer in JSON."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return {
        output["name"]: np.array(output["data"], KINDS[output["datatype"]][1]).reshape(output["shape"])
        for output in answer.json()["outputs"]
    }


def in_binary(inputs: Arrays) -> list[bytes]:
    return [to_binary(array) for array in inputs.values()]


def same(got: Arrays, expected: Arrays) -> None:
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].dtype == array.dtype, name
        np.testing.assert_array_equal(got[name], array, name)


def elements_in(part: bytes, datatype: str) -> NDArray[Any]:
    """The elements of a tensor in the protocol's binary form, flat."""
    if datatype != "BYTES":
        return np.frombuffer(part, KINDS[datatype][1])
    texts: list[str] = []
    while part:
        end = 4 + int.from_bytes(part[:4], "little")
        texts.append(part[4:end].decode())
        part = part[end:]
    return np.array(texts, object)
