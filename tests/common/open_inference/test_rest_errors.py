"""Wrong, late and too large requests over REST: each gets the status that fits, in the protocol's own form."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from common.service.body.long_work import LONG_BYTES
from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.open_inference.rest_client import INFER, LENGTH, ask, ask_binary, refused, sized
from tests.support.open_inference.tensors import SEVEN_TENSOR, in_binary, in_json
from tests.support.samples import SEVEN_PIXELS
from tests.support.service_process import Server, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(max_body_bytes=300_000, max_queue_rows=30) as server:
        yield server


def nested(data: list[Any]) -> dict[str, Any]:
    return {"inputs": [in_json(SEVEN_TENSOR)["inputs"][0] | {"data": data}]}


short_and_long = pytest.mark.parametrize("length", [0, LONG_BYTES], ids=["short", "long"])
"""With spaces up to this length: long JSON is parsed in another way, and in a thread."""
WRONG: dict[str, tuple[Any, ...]] = {
    "no JSON": (b"{", "not JSON"),
    "no UTF-8": (b'{"id": "\xff"}', "not JSON"),
    "deep": (b"[" * 100_000, "not JSON"),
    "no object": (b"[]", "object"),
    "no inputs": (b"{}", "inputs"),
    "input that is no object": ({"inputs": [7]}, "inputs[0]: Input should be an object"),
    "inputs that are no array": ({"inputs": {}}, "inputs: Input should be a valid array"),
    "empty inputs": ({"inputs": []}, "inputs"),
    "too many inputs": ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}] * 1_025}, "inputs", "1024"),
    "too many outputs": ({"outputs": [{"name": "x"}] * 1_025}, "outputs", "1024"),
    "far too many inputs": ({"inputs": [{"name": "x"}] * 16_400}, "inputs", "1024"),
    "too many parameters": ({"parameters": dict.fromkeys(map(str, range(16_400)), 0)}, "16406 keys"),
    "too many empty lists": (nested([[]] * 60_000), "lists and objects"),
    "too many objects": (nested([{}] * 60_000), "lists and objects"),
    "too many lists of one number": (nested([[1]] * 40_000), "lists and objects"),
    "too many lists in parameters": ({"parameters": {"a": [[]] * 60_000}}, "lists and objects"),
    "id": ({"id": 7}, "id"),
    "outputs": ({"outputs": [{"name": "nope"}]}, "label", "nope"),
    "output twice": ({"outputs": [{"name": "label"}] * 2}, "twice"),
    "outputs null": ({"outputs": None}, "outputs"),
    "classification": ({"outputs": [{"name": "label", "parameters": {"classification": 0}}]}, "classification"),
    "timeout": ({"parameters": {"timeout": -1}}, "timeout"),
    "input twice": ({"inputs": in_json(SEVEN_TENSOR)["inputs"] * 2}, "features", "twice"),
    "many wrong inputs": ({"inputs": [1] * 20_000}, "inputs[0]"),
}
WRONG_INPUT: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"name": "feature"}, "features"),
    "long name": ({"name": "x" * 50_000}, "features"),
    "datatype": ({"datatype": "FP64"}, "FP32"),
    "unknown datatype": ({"datatype": "float32"}, "FP32"),
    "63 features": ({"shape": [1, 63], "data": SEVEN_PIXELS[:63]}, "[-1, 64]"),
    "63 elements": ({"data": SEVEN_PIXELS[:63]}, "64 elements"),
    "one axis": ({"shape": [64]}, "[-1, 64]"),
    "three axes": ({"shape": [1, 1, 64]}, "[-1, 64]"),
    "negative": ({"shape": [-1, 64]}, "shape[0]"),
    "absurd": ({"shape": [2**62, 64]}, "elements"),
    "beyond int64": ({"shape": [2**64, 64]}, "shape[0]"),
    "shape of floats": ({"shape": [1.5, 64]}, "shape[0]"),
    "shape of text": ({"shape": "1, 64"}, "shape"),
    "long shape": ({"shape": [1] * 20_000}, "shape: List should have at most 64 items"),
    "nested otherwise": ({"data": [[value] for value in SEVEN_PIXELS]}, "[1, 64]"),
    "ragged": ({"data": [SEVEN_PIXELS[:63], SEVEN_PIXELS[63:]]}, "numbers"),
    "no data": ({"data": None}, "numbers"),
    "null in data": ({"data": [*SEVEN_PIXELS[:63], None]}, "numbers"),
    "text in data": ({"data": [*SEVEN_PIXELS[:63], "1"]}, "numbers"),
    "text": ({"data": "A" * 256}, "numbers"),
    "object": ({"data": {"0": 1}}, "numbers"),
    "true": ({"data": [True] * 64}, "numbers"),
    "beyond float32": ({"data": [*SEVEN_PIXELS[:63], 1e39]}, "float32"),
    "beyond any int": ({"data": [*SEVEN_PIXELS[:63], 10**400]}, "numbers"),
    "binary size as text": ({"parameters": {"binary_data_size": "256"}}, "binary_data_size"),
    "binary and data": ({"parameters": {"binary_data_size": 0}}, "both"),
}


@short_and_long
@pytest.mark.parametrize("case", WRONG)
def test_wrong_requests(server: Server, case: str, length: int) -> None:
    change, *words = WRONG[case]
    body = change if isinstance(change, bytes) else json.dumps(in_json(SEVEN_TENSOR) | change).encode()
    refused(server.client.post(INFER, content=body.ljust(length)), 400, *words)


@short_and_long
@pytest.mark.parametrize("case", WRONG_INPUT)
def test_wrong_inputs(server: Server, case: str, length: int) -> None:
    change, word = WRONG_INPUT[case]
    request = in_json(SEVEN_TENSOR)
    request["inputs"][0] |= change
    answer = server.client.post(INFER, content=json.dumps(request).encode().ljust(length))
    refused(answer, 400, word)
    assert len(answer.text) < 500


def test_no_rows_are_answered_as_onnxruntime_does(server: Server) -> None:
    """The mlp cannot look up labels of no rows; other models answer with no rows."""
    refused(ask(server, {"features": np.zeros((0, 64), np.float32)}), 422, "cannot process this input")


def test_wrong_binary_tensors(server: Server) -> None:
    part = in_binary(SEVEN_TENSOR)
    right = sized(SEVEN_TENSOR)
    assert ask_binary(server, right, part).status_code == 200
    refused(ask_binary(server, right, part, **{LENGTH: "300000"}), 400, LENGTH)
    for length in ("-1", "x", "", "9" * 30, "1_0"):
        refused(ask_binary(server, right, part, **{LENGTH: length}), 400, LENGTH)
    refused(ask_binary(server, right, part, **{LENGTH: "0"}), 400, "JSON")
    refused(ask_binary(server, right, []), 400, "256", "got 0")
    refused(ask_binary(server, right, [*part, b"x"]), 400, "256", "257")
    for size in (0, 255, 257, 2**62):
        right["inputs"][0]["parameters"] = {"binary_data_size": size}
        refused(ask_binary(server, right, part), 400, "input features")
        refused(ask_binary(server, right, [bytes(min(size, 300))]), 400, "input features")
    refused(server.client.post(INFER, content=json.dumps(sized(SEVEN_TENSOR)).encode()), 400, "256")


def test_unknown_paths_models_versions_and_methods(server: Server) -> None:
    for path in ("/v2/models/nope", "/v2/models/mlp/versions/1/infer", "/v2/models/mlp/nope", "/v2/nope", "/v2/nope/"):
        refused(server.get(path), 404, "mlp")
        refused(server.client.post(path, json=in_json(SEVEN_TENSOR)), 404, "mlp")
    refused(server.get(INFER), 405, "POST")
    refused(server.client.post("/v2/models/mlp"), 405, "GET")


@pytest.mark.full
def test_limits_and_deadlines_in_the_protocols_own_form(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    refused(server.client.post(INFER, content=bytes(300_001)), 413, "300000")
    refused(ask(server, {"features": np.zeros((31, 64), np.float32)}), 413, "30 rows", "MAX_QUEUE_ROWS")
    refused(
        server.client.post(INFER, json=in_json(SEVEN_TENSOR), headers={"X-Request-Timeout-Ms": "x"}), 400, "Timeout"
    )
    with serving(model_uri=slow_reader(tmp_path_factory.mktemp("models") / "slow.onnx"), batching="on") as slow:
        inputs = {"features": np.array([slow_pixels(0.3)["pixels"]], np.float32)}
        refused(ask(slow, inputs, "slow", parameters={"timeout": 50_000}), 504, "deadline")
        patient = {"X-Request-Timeout-Ms": "20000"}
        request = in_json(inputs, parameters={"timeout": 0})
        assert slow.client.post("/v2/models/slow/infer", json=request, headers=patient).status_code == 200
