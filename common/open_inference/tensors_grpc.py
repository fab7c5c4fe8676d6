"""Tensors in gRPC messages: raw bytes, or typed contents with a field for each kind of number."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.inference.tensor_spec import Tensors, TensorSpec
from common.open_inference.datatypes import BYTES, datatype
from common.open_inference.generated import open_inference_pb2 as pb
from common.open_inference.tensor_check import TensorCheck, check_count
from common.open_inference.tensors_binary import from_binary, to_binary
from common.service.problems import Problem

CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""The field of the elements, by datatype; FP16 has none and is always sent raw."""


def read_inputs(request: pb.ModelInferRequest, check: TensorCheck) -> Tensors:
    """The inputs as arrays, in the order of the request; raises `Problem` 400."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise Problem(400, f"raw_input_contents: expected one for each of {len(request.inputs)} inputs, got {len(raw)}")
    inputs: Tensors = {}
    for number, tensor in enumerate(request.inputs):
        shape = list(tensor.shape)
        spec = check.input(tensor.name, tensor.datatype, shape, inputs)
        if not raw:
            inputs[spec.name] = _from_contents(tensor.contents, spec, shape)
        elif tensor.HasField("contents"):
            raise Problem(400, f"input {spec.name}: expected contents or raw_input_contents, got both")
        else:
            inputs[spec.name] = from_binary(raw[number], spec, shape)
    return inputs


def write_outputs(response: pb.ModelInferResponse, outputs: Tensors, raw: bool) -> None:
    """Add the outputs, raw or typed; raw all the same where one of them has no typed form."""
    raw = raw or any(datatype(values.dtype) not in CONTENTS for values in outputs.values())
    for name, values in outputs.items():
        output = response.outputs.add(name=name, datatype=datatype(values.dtype), shape=values.shape)
        if raw:
            response.raw_output_contents.append(to_binary(values))
        else:
            elements = values.ravel().tolist()
            if output.datatype == BYTES:
                elements = [str(text).encode() for text in elements]
            getattr(output.contents, CONTENTS[output.datatype]).extend(elements)


def _from_contents(contents: pb.InferTensorContents, spec: TensorSpec, shape: list[int]) -> NDArray[Any]:
    name = datatype(spec.dtype)
    if name not in CONTENTS:
        raise Problem(400, f"input {spec.name}: expected raw_input_contents, since {name} has no other form")
    elements = getattr(contents, CONTENTS[name])
    if len(contents.ListFields()) != bool(elements):
        got = " and ".join(found.name for found, _ in contents.ListFields())
        raise Problem(400, f"input {spec.name}: expected {CONTENTS[name]}, got {got}")
    check_count(spec.name, len(elements), shape)
    try:
        if name == BYTES:
            return np.array([text.decode() for text in elements], object).reshape(shape)
        return np.fromiter(elements, spec.dtype, len(elements)).reshape(shape)
    except OverflowError:
        raise Problem(400, f"input {spec.name}: expected whole numbers that fit {name}, got larger ones") from None
    except UnicodeDecodeError:
        raise Problem(400, f"input {spec.name}: expected strings in UTF-8, got other bytes") from None
