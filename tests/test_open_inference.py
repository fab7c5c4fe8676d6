"""The Open Inference Protocol over REST, on a real server: any model, right answers, and a 4xx for what is wrong."""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import helper

from tests.servers import MLP, SEVEN_PIXELS, Server, save, serving, slow_pixels, slow_reader, tensor
from tests.tensors import (
    KINDS,
    Arrays,
    by_onnxruntime,
    described,
    every_type,
    from_json,
    in_binary,
    in_json,
    same,
    values,
)

NODE = helper.make_node
SEVEN: Arrays = {"features": np.array([SEVEN_PIXELS], np.float32)}
INFER = "/v2/models/mlp/infer"
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(max_body_bytes=100_000) as server:
        yield server


@pytest.fixture(scope="module")
def all_types(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    uri = every_type(tmp_path_factory.mktemp("models") / "every_type.onnx")
    with serving(model_uri=uri) as server:
        yield server, uri


def ask(server: Server, inputs: Arrays, model: str = "mlp", **request: object) -> httpx.Response:
    return server.client.post(f"/v2/models/{model}/infer", content=json.dumps(in_json(inputs, **request)))


def ask_binary(
    server: Server, head: dict[str, Any], parts: list[bytes], path: str = INFER, **headers: str
) -> httpx.Response:
    """A request whose tensors follow its JSON; `head` need not tell the truth about them."""
    text = json.dumps(head).encode()
    return server.client.post(path, content=text + b"".join(parts), headers={LENGTH: str(len(text))} | headers)


def sized(inputs: Arrays, **request: object) -> dict[str, Any]:
    tensors = described(inputs)
    for each, part in zip(tensors, in_binary(inputs), strict=True):
        each["parameters"] = {"binary_data_size": len(part)}
    return {"inputs": tensors} | request


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    """A problem in the protocol's own form: this status, and these words in it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert all(word in answer.json()["error"] for word in words), answer.text


# What the server tells of itself


def test_metadata_comes_from_the_graph(server: Server, all_types: tuple[Server, str]) -> None:
    assert server.get("/v2").json() == {
        "name": "web_single",
        "version": server.get("/openapi.json").json()["info"]["version"],
        "extensions": ["binary_tensor_data"],
    }
    metadata = server.get("/v2/models/mlp").json()
    version = metadata["versions"][0]
    assert metadata == {
        "name": "mlp",
        "versions": [version],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 64]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
        ],
    }
    assert server.get(f"/v2/models/mlp/versions/{version}").json() == metadata
    typed = all_types[0].get("/v2/models/every_type").json()
    assert [each["datatype"] for each in typed["inputs"]] == list(KINDS)
    assert [each["datatype"] for each in typed["outputs"]] == [*KINDS, "FP64"]


def test_health(server: Server) -> None:
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert server.get(path).json() == {"live": True, "ready": True}
    version = server.get("/v2/models/mlp").json()["versions"][0]
    for path in ("/v2/models/mlp/ready", f"/v2/models/mlp/versions/{version}/ready"):
        assert server.get(path).json() == {"name": "mlp", "ready": True}


def test_openapi_describes_every_path(server: Server) -> None:
    paths = server.get("/openapi.json").json()["paths"]
    version = server.get("/v2/models/mlp").json()["versions"][0]
    model = ["/v2/models/mlp", f"/v2/models/mlp/versions/{version}"]
    expected = {"/v2", "/v2/health/live", "/v2/health/ready", *model, *(f"{path}/ready" for path in model)}
    assert {path for path in paths if path.startswith("/v2")} == expected | {f"{path}/infer" for path in model}
    assert "requestBody" not in paths["/v2"]["get"]
    assert paths[INFER]["post"]["responses"]["400"]["content"].keys() == {"application/json"}


# Right answers


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_every_type_in_json(all_types: tuple[Server, str], rows: int) -> None:
    server, uri = all_types
    inputs = values(rows, rows)
    same(from_json(ask(server, inputs, "every_type")), by_onnxruntime(uri, inputs))


@pytest.mark.parametrize("padding", range(4))
def test_every_type_in_binary(all_types: tuple[Server, str], padding: int) -> None:
    """Whatever the length of the JSON, and so the alignment of the numbers after it."""
    server, uri = all_types
    inputs = values(3, padding)
    head = sized(inputs, id="x" * padding, parameters={"binary_data_output": True})
    answer = ask_binary(server, head, in_binary(inputs), "/v2/models/every_type/infer")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[LENGTH])
    document, start = json.loads(answer.content[:length]), length
    assert document["id"] == "x" * padding
    for output, expected in zip(document["outputs"], by_onnxruntime(uri, inputs).items(), strict=True):
        end = start + output["parameters"]["binary_data_size"]
        assert (output["name"], output["shape"]) == (expected[0], list(expected[1].shape))
        assert answer.content[start:end] == in_binary(dict([expected]))[0]
        start = end
    assert start == len(answer.content)


def test_some_inputs_in_json_and_some_outputs_in_binary(all_types: tuple[Server, str]) -> None:
    server, _ = all_types
    inputs = values(2, 0)
    request = in_json(inputs, outputs=[{"name": "out_INT8"}, {"name": "sum", "parameters": {"binary_data": True}}])
    parts = []
    for each, part in list(zip(request["inputs"], in_binary(inputs), strict=True))[::2]:
        del each["data"]
        each["parameters"] = {"binary_data_size": len(part)}
        parts.append(part)
    answer = ask_binary(server, request, parts, "/v2/models/every_type/infer")
    head, total = (
        json.loads(answer.content[: int(answer.headers[LENGTH])]),
        answer.content[int(answer.headers[LENGTH]) :],
    )
    assert [output["name"] for output in head["outputs"]] == ["out_INT8", "sum"]
    assert head["outputs"][0]["data"] == inputs["in_INT8"].ravel().tolist()
    np.testing.assert_array_equal(np.frombuffer(total), (inputs["in_FP32"] + inputs["in_FP64"]).ravel())


def test_flat_and_nested_data_and_a_body_without_content_type(server: Server) -> None:
    request = in_json(SEVEN, id="7")
    flat = server.client.post(INFER, json=request).json()
    assert flat["id"] == "7"
    assert flat["model_name"] == "mlp"
    assert flat["outputs"][0]["data"] == [7]
    assert "id" not in ask(server, SEVEN).json()
    request["inputs"][0]["data"] = [SEVEN_PIXELS]
    assert server.client.post(INFER, content=json.dumps(request)).json() == flat
    version = flat["model_version"]
    assert server.client.post(f"/v2/models/mlp/versions/{version}/infer", json=request).json() == flat


def test_only_the_outputs_that_are_wanted_in_their_order(server: Server) -> None:
    answer = ask(server, SEVEN, outputs=[{"name": "probabilities"}, {"name": "label"}], parameters={"priority": 3})
    assert [output["name"] for output in answer.json()["outputs"]] == ["probabilities", "label"]
    assert [each["name"] for each in ask(server, SEVEN, outputs=[{"name": "label"}]).json()["outputs"]] == ["label"]


def test_not_a_number_and_infinity_come_back_as_they_were(all_types: tuple[Server, str]) -> None:
    server, _ = all_types
    inputs = values(1, 0)
    inputs["in_FP64"] = np.array([[np.nan, -np.inf]])
    same({"x": from_json(ask(server, inputs, "every_type"))["out_FP64"]}, {"x": inputs["in_FP64"]})


@pytest.mark.full
def test_axes_of_any_length_and_models_without_rows(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("models")
    free = save(folder / "free.onnx", [NODE("Add", ["a", "b"], ["c"])], *free_tensors())
    with serving(model_uri=free) as server:
        assert server.get("/v2/models/free").json()["inputs"][0]["shape"] == [-1, -1]
        for columns in (1, 5):
            inputs = {name: np.full((2, columns), 1.5, np.float32) for name in "ba"}
            same(from_json(ask(server, inputs, "free")), by_onnxruntime(free, inputs))
        unlike = {"a": np.ones((1, 3), np.float32), "b": np.ones((1, 4), np.float32)}
        refused(ask(server, unlike, "free"), 422, "free")
        refused(ask(server, {"a": unlike["a"], "b": np.ones((2, 3), np.float32)}, "free"), 400, "a 1, b 2")
    whole = save(
        folder / "whole.onnx",
        [NODE("Mul", ["a", "b"], ["c"])],
        [tensor("a", []), tensor("b", [3])],
        [tensor("c", [3])],
    )
    with serving(model_uri=whole) as server:
        assert server.get("/v2/models/whole").json()["inputs"][0]["shape"] == []
        scaled: Arrays = {"a": np.array(2, np.float32), "b": np.arange(3, dtype=np.float32)}
        same(from_json(ask(server, scaled, "whole")), by_onnxruntime(whole, scaled))


def free_tensors() -> tuple[list[Any], list[Any]]:
    return [tensor("a", ["n", "k"]), tensor("b", ["n", "j"])], [tensor("c", ["n", None])]


# Compression


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_both_ways(server: Server, encoding: str, pack: Any) -> None:
    many = {"features": np.repeat(SEVEN["features"], 32, axis=0)}
    headers = {"Content-Encoding": encoding, "Accept-Encoding": encoding}
    answer = server.client.post(INFER, content=pack(json.dumps(in_json(many)).encode()), headers=headers)
    assert answer.headers["content-encoding"] == encoding
    assert from_json(answer)["label"].tolist() == [7] * 32
    plain = server.client.post(INFER, json=in_json(many), headers={"Accept-Encoding": f"{encoding};q=0, br"})
    assert "content-encoding" not in plain.headers
    assert answer.content == plain.content
    assert "content-encoding" not in ask(server, SEVEN).headers  # not worthwhile


def test_compressed_bodies_that_are_refused(server: Server) -> None:
    body = json.dumps(in_json(SEVEN)).encode()
    for content, encoding, status in (
        (gzip.compress(bytes(10**8)), "gzip", 413),
        (zlib.compress(bytes(10**8)), "deflate", 413),
        (gzip.compress(body)[:-9], "gzip", 400),
        (gzip.compress(body) + b"more", "gzip", 400),
        (body, "gzip", 400),
        (body, "br", 415),
    ):
        refused(server.client.post(INFER, content=content, headers={"Content-Encoding": encoding}), status)
    assert server.memory_mb("VmHWM") < 400


# What is refused

WRONG: dict[str, tuple[Any, ...]] = {
    "no JSON": (b"{", "not JSON"),
    "no UTF-8": (b'{"id": "\xff"}', "not JSON"),
    "deep": (b"[" * 100_000, "not JSON"),
    "no object": (b"[]", "object"),
    "no inputs": (b"{}", "inputs"),
    "empty inputs": ({"inputs": []}, "inputs"),
    "id": ({"id": 7}, "id"),
    "outputs": ({"outputs": [{"name": "nope"}]}, "label", "nope"),
    "output twice": ({"outputs": [{"name": "label"}] * 2}, "twice"),
    "outputs null": ({"outputs": None}, "outputs"),
    "classification": ({"outputs": [{"name": "label", "parameters": {"classification": 3}}]}, "classification"),
    "timeout": ({"parameters": {"timeout": -1}}, "timeout"),
    "input twice": ({"inputs": in_json(SEVEN)["inputs"] * 2}, "features", "twice"),
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
    "no rows": ({"shape": [0, 64], "data": []}, "[-1, 64]"),
    "negative": ({"shape": [-1, 64]}, "shape[0]"),
    "absurd": ({"shape": [2**62, 64]}, "elements"),
    "beyond int64": ({"shape": [2**64, 64]}, "shape[0]"),
    "shape of floats": ({"shape": [1.5, 64]}, "shape[0]"),
    "shape of text": ({"shape": "1, 64"}, "shape"),
    "long shape": ({"shape": [1] * 20_000}, "[-1, 64]"),
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
    "shared memory": ({"parameters": {"shared_memory_region": "r"}}, "shared_memory_region"),
    "binary and data": ({"parameters": {"binary_data_size": 0}}, "both"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_requests(server: Server, case: str) -> None:
    change, *words = WRONG[case]
    body = change if isinstance(change, bytes) else json.dumps(in_json(SEVEN) | change).encode()
    refused(server.client.post(INFER, content=body), 400, *words)


@pytest.mark.parametrize("case", WRONG_INPUT)
def test_wrong_inputs(server: Server, case: str) -> None:
    change, word = WRONG_INPUT[case]
    request = in_json(SEVEN)
    request["inputs"][0] |= change
    answer = server.client.post(INFER, json=request)
    refused(answer, 400, word)
    assert len(answer.text) < 500


def test_wrong_binary_tensors(server: Server) -> None:
    part = in_binary(SEVEN)
    right = sized(SEVEN)
    assert ask_binary(server, right, part).status_code == 200
    refused(ask_binary(server, right, part, **{LENGTH: "100000"}), 400, LENGTH)
    for length in ("-1", "x", "", "9" * 30, "1_0"):
        refused(ask_binary(server, right, part, **{LENGTH: length}), 400, LENGTH)
    refused(ask_binary(server, right, part, **{LENGTH: "0"}), 400, "JSON")
    refused(ask_binary(server, right, []), 400, "256", "got 0")
    refused(ask_binary(server, right, [*part, b"x"]), 400, "256", "257")
    for size in (0, 255, 257, 2**62):
        right["inputs"][0]["parameters"] = {"binary_data_size": size}
        refused(ask_binary(server, right, part), 400, "input features")
        refused(ask_binary(server, right, [bytes(min(size, 300))]), 400, "input features")
    refused(server.client.post(INFER, content=json.dumps(sized(SEVEN)).encode()), 400, "256")


def test_wrong_values_of_other_types(all_types: tuple[Server, str]) -> None:
    server, _ = all_types
    wrong: dict[str, list[list[object]]] = {
        "BOOL": [[1, 0], ["true", "false"]],
        "UINT8": [[-1, 0], [256, 0], [1.0, 2.0]],
        "UINT64": [[-1, 2**63], [2**64, 0], [2**63, 1.5], [2**63, "1"]],
        "INT64": [[2**63, 0], [0.5, 1.5], [True, False]],
        "FP16": [[1e5, 0], ["1", "2"]],
        "BYTES": [[1, 2], ["a", None], [["a"], ["b", "c"]], ["a"]],
    }
    for name, cases in wrong.items():
        for case in cases:
            request = in_json(values(1, 0))
            next(each for each in request["inputs"] if each["name"] == f"in_{name}")["data"] = case
            refused(server.client.post("/v2/models/every_type/infer", json=request), 400, f"in_{name}")
    inputs = values(1, 0)
    del inputs["in_FP16"]
    refused(ask(server, inputs, "every_type"), 400, "in_FP16")
    large = values(1, 0) | {"in_UINT64": np.array([[2**63, 1]], np.uint64)}
    same({"x": from_json(ask(server, large, "every_type"))["out_UINT64"]}, {"x": large["in_UINT64"]})


def test_wrong_strings_in_binary(all_types: tuple[Server, str]) -> None:
    server, _ = all_types
    inputs = values(1, 0)
    place = list(inputs).index("in_BYTES")
    for wrong in (b"", b"\1\0\0\0", b"\1\0\0\0a", b"\xff\xff\xff\xffab", b"\1\0\0\0a\1\0\0", b"\1\0\0\0\xff\1\0\0\0a"):
        parts, head = in_binary(inputs), sized(inputs)
        parts[place] = wrong
        head["inputs"][place]["parameters"]["binary_data_size"] = len(wrong)
        refused(ask_binary(server, head, parts, "/v2/models/every_type/infer"), 400, "in_BYTES")


def test_unknown_paths_models_versions_and_methods(server: Server) -> None:
    for path in ("/v2/models/nope", "/v2/models/mlp/versions/1/infer", "/v2/models/mlp/nope", "/v2/nope", "/v2/"):
        refused(server.get(path), 404, "mlp")
        refused(server.client.post(path, json=in_json(SEVEN)), 404, "mlp")
    refused(server.get(INFER), 405, "POST")
    refused(server.client.post("/v2/models/mlp"), 405, "GET")


@pytest.mark.full
def test_limits_and_deadlines_in_the_protocols_own_form(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    refused(server.client.post(INFER, content=bytes(100_001)), 413, "100000")
    refused(ask(server, {"features": np.zeros((65, 64), np.float32)}), 413, "64 rows")
    refused(server.client.post(INFER, json=in_json(SEVEN), headers={"X-Request-Timeout-Ms": "x"}), 400, "Timeout")
    with serving(model_uri=slow_reader(tmp_path_factory.mktemp("models") / "slow.onnx")) as slow:
        inputs = {"features": np.array([slow_pixels(0.3)["pixels"]], np.float32)}
        refused(ask(slow, inputs, "slow", parameters={"timeout": 50_000}), 504, "deadline")
        patient = {"X-Request-Timeout-Ms": "20000"}
        request = in_json(inputs, parameters={"timeout": 0})
        assert slow.client.post("/v2/models/slow/infer", json=request, headers=patient).status_code == 200


def test_every_call_is_in_log_and_metrics(server: Server) -> None:
    before = server.metric("http_requests_total", path=INFER, status="200")
    answer = ask(server, SEVEN)
    assert {"decode", "queue", "predict", "total"} <= {
        entry.split(";")[0].strip() for entry in answer.headers["server-timing"].split(",")
    }
    assert server.metric("http_requests_total", path=INFER, status="200") == before + 1
    assert server.logged(path=INFER, trace_id=answer.headers["traceparent"].split("-")[1])
    server.get("/v2/nope/nope")
    assert server.metric("http_requests_total", path="/v2/{rest:path}") > 0


def test_labels_and_probabilities_are_onnxruntimes(server: Server) -> None:
    inputs = {"features": np.random.default_rng(0).uniform(0, 16, (64, 64)).astype(np.float32)}
    got, expected = from_json(ask(server, inputs)), by_onnxruntime(str(MLP), inputs)
    np.testing.assert_array_equal(got["label"], expected["label"])
    np.testing.assert_allclose(got["probabilities"], expected["probabilities"], rtol=1e-5, atol=1e-7)
