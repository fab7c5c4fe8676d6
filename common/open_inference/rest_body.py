"""Bodies of the Open Inference Protocol over REST: JSON, and after it the tensors that are sent as bytes.

If there are such tensors, the header `Inference-Header-Content-Length` is the length of the JSON. A malformed body
raises `Problem` 400, one of an extension that is not here 501, and nothing else is raised.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from reprlib import repr as short_repr
from typing import Any

from fastapi import Response
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from common.inference.model import Model
from common.inference.tensor_spec import Tensors
from common.open_inference.datatypes import datatype
from common.open_inference.extensions import not_supported
from common.open_inference.request_schema import MAX_TENSORS, InferRequest
from common.open_inference.tensor_check import TensorCheck
from common.open_inference.tensors_binary import from_binary, to_binary
from common.open_inference.tensors_json import from_json_data, to_json_data
from common.service.body.long_work import LONG_BYTES
from common.service.problems import Problem
from common.service.responses import JSONBytes

HEADER_LENGTH = "Inference-Header-Content-Length"

MAX_CACHED_BYTES = 2048
"""The JSON before the bytes of tensors is the same with every request of a client; longer JSON is parsed each time."""

IN_JSON = {"model_type": "Input should be an object", "list_type": "Input should be a valid array"}
"""What pydantic says where it parses the JSON itself; else it would speak of dictionaries and lists."""

KEY = re.compile(rb'(?<!\\)"\s*:')
"""The end of an object's key: in a string, the quote would follow a backslash."""
MAX_KEYS = 8 * 2 * MAX_TENSORS
"""A tensor has seven keys at most."""

NOT_QUOTES_NOR_BRACKETS = bytes({*range(256)} - {*b'"[]{}'})
MAX_PARTS = 8 * 2 * MAX_TENSORS
"""Lists and objects of a request besides those of nested `data`: a tensor has four."""

_request = TypeAdapter(InferRequest)


def _parse(text: bytes, lists_per_element: float) -> InferRequest:
    if len(text) >= LONG_BYTES:
        _check_keys(text)
        _check_parts(text, lists_per_element)
        request = _request.validate_python(from_json(text))  # `validate_json` takes half as long again: it copies
    else:
        request = _request.validate_json(text)
    if request.uses_shared_memory:
        raise not_supported("system_shared_memory")
    return request


def _check_keys(text: bytes) -> None:
    """Parsing a hundred thousand tensors, only to refuse them, would hold Python's lock for a fifth of a second."""
    if text.count(b":") > MAX_KEYS and (got := sum(1 for _ in KEY.finditer(text))) > MAX_KEYS:
        raise Problem(400, f"body: expected at most {MAX_TENSORS} inputs and {MAX_TENSORS} outputs, got {got} keys")


def _check_parts(text: bytes, lists_per_element: float) -> None:
    """An empty list is 3 bytes long in JSON and takes 64 of memory: a body full of them would not fit into a container.

    An element takes 2 bytes at least, a list its two brackets.
    """
    got = _count_parts(text)
    if got > MAX_PARTS + lists_per_element * (len(text) - 2 * got) / 2:
        got = _count_outside_strings(text)
    allowed = MAX_PARTS + int(lists_per_element * max(0, len(text) - 2 * got) / 2)
    if got > allowed:
        raise Problem(400, f"body: expected at most {allowed} lists and objects in {len(text)} bytes, got {got}")


def _count_parts(text: bytes) -> int:
    return text.count(b"]") + text.count(b"}")


def _count_outside_strings(text: bytes) -> int:
    """The same where strings hold brackets; piece by piece, so that other threads get Python's lock in between."""
    text = text.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, NOT_QUOTES_NOR_BRACKETS)
    got = is_inside = 0
    for start in range(0, len(text), LONG_BYTES):
        pieces = text[start : start + LONG_BYTES].split(b'"')
        got += _count_parts(b"".join(pieces[is_inside::2]))
        is_inside ^= (len(pieces) - 1) & 1
    return got


_parse_again = lru_cache(maxsize=64)(_parse)


def read_request(
    body: bytes, header_length: str | None, lists_per_element: float = 1
) -> tuple[InferRequest, memoryview]:
    """The request, and the bytes after its JSON; nested `data` has at most `lists_per_element`."""
    end = len(body)
    if header_length is not None:
        if not re.fullmatch("[0-9]{1,18}", header_length) or int(header_length) > end:
            expected = f"expected a number up to the body's {end} bytes"
            raise Problem(400, f"{HEADER_LENGTH}: {expected}, got {header_length!r:.30}")
        end = int(header_length)
    try:
        if end == len(body):
            return _parse(body, lists_per_element), memoryview(b"")
        parse = _parse_again if end < MAX_CACHED_BYTES else _parse
        return parse(body[:end], lists_per_element), memoryview(body)[end:]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    except ValueError as error:
        raise Problem(400, f"body: not JSON ({error})") from None
    if first["type"] == "json_invalid":
        raise Problem(400, f"body: not JSON ({first['ctx']['error']})")
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]).lstrip(".")
    what = IN_JSON.get(first["type"], first["msg"])
    raise Problem(400, f"{where or 'body'}: {what}, got {short_repr(first['input'])}")


def read_inputs(request: InferRequest, binary: memoryview, check: TensorCheck) -> Tensors:
    """The inputs as arrays, in the order of the request."""
    inputs: Tensors = {}
    start = 0
    for tensor in request.inputs:
        spec = check.input(tensor.name, tensor.datatype, tensor.shape, inputs)
        size = tensor.binary_size
        if size is None:
            inputs[spec.name] = from_json_data(tensor.data, spec, tensor.shape)
            continue
        if tensor.data is not None:
            raise Problem(400, f"input {spec.name}: expected data or binary_data_size, got both")
        if start + size > len(binary):
            left = f"got {len(binary) - start} after the JSON"
            raise Problem(400, f"input {spec.name}: expected {size} bytes (binary_data_size), {left}")
        inputs[spec.name] = from_binary(binary[start : start + size], spec, tensor.shape)
        start += size
    if start != len(binary):
        raise Problem(400, f"body: expected {start} bytes after the JSON (binary_data_size), got {len(binary)}")
    return inputs


def write_response(model: Model, outputs: Tensors, as_bytes: Sequence[bool], request_id: str | None = None) -> Response:
    """The answer, with each output in JSON, or `as_bytes` after it."""
    heads: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for (name, values), binary in zip(outputs.items(), as_bytes, strict=True):
        head: dict[str, Any] = {"name": name, "datatype": datatype(values.dtype), "shape": values.shape}
        if binary:
            tail.append(to_binary(values))
            head["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            head["data"] = to_json_data(values)
        heads.append(head)
    document: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if request_id is not None:
        document["id"] = request_id
    json = to_json(document | {"outputs": heads}, inf_nan_mode="constants")
    if not tail:
        return JSONBytes(json)
    headers = {HEADER_LENGTH: str(len(json))}
    return Response(b"".join((json, *tail)), 200, headers, "application/octet-stream")


def choose_bytes(request: InferRequest, count: int) -> list[bool]:
    """For each of `count` outputs, whether the request asks for it as bytes."""
    usual = request.parameters is not None and request.parameters.binary_data_output
    if not request.outputs:
        return [usual] * count
    return [usual if output.binary is None else output.binary for output in request.outputs]
