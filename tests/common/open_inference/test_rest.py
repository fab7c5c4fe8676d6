"""The Open Inference Protocol over REST, on a real server: metadata, and the right answers."""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.support.models.onnx_models import save, tensor
from tests.support.open_inference.rest_client import INFER, ask, refused
from tests.support.open_inference.tensors import (
    KINDS,
    SEVEN_TENSOR,
    Arrays,
    by_onnxruntime,
    every_type,
    from_json,
    in_json,
    same,
)
from tests.support.samples import MLP, SEVEN_PIXELS
from tests.support.service_process import ROUTES, Server, serving

NODE = helper.make_node


@pytest.fixture(scope="module", params=ROUTES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(request.param, max_body_bytes=100_000) as server:
        yield server


@pytest.fixture(scope="module")
def all_types(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    uri = every_type(tmp_path_factory.mktemp("models") / "every_type.onnx")
    with serving(model_uri=uri) as server:
        yield server, uri


# Metadata


def test_metadata_comes_from_the_graph(server: Server, all_types: tuple[Server, str]) -> None:
    assert server.get("/v2").json() == {
        "name": "web_single",
        "version": server.get("/openapi.json").json()["info"]["version"],
        "extensions": ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"],
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
        "parameters": {"batching": "exact", "warmed_up": True},
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
    of_server = {"/v2", "/v2/health/live", "/v2/health/ready", "/v2/repository/index", "/v2/models/stats"}
    of_model = {f"{path}{part}" for path in model for part in ("", "/ready", "/infer", "/config", "/stats")}
    assert {path for path in paths if path.startswith("/v2")} == of_server | of_model
    assert "requestBody" not in paths["/v2"]["get"]
    assert paths[INFER]["post"]["responses"]["400"]["content"].keys() == {"application/json"}


def test_every_call_is_in_log_and_metrics(server: Server) -> None:
    before = server.metric("http_requests_total", path=INFER, status="200")
    answer = ask(server, SEVEN_TENSOR)
    assert {"decode", "queue", "predict", "total"} <= {
        entry.split(";")[0].strip() for entry in answer.headers["server-timing"].split(",")
    }
    assert server.metric("http_requests_total", path=INFER, status="200") == before + 1
    assert server.logged(path=INFER, trace_id=answer.headers["traceparent"].split("-")[1])
    server.get("/v2/nope/nope")
    assert server.metric("http_requests_total", path="unmatched") > 0


# Right answers


def test_labels_and_probabilities_are_onnxruntimes(server: Server) -> None:
    inputs = {"features": np.random.default_rng(0).uniform(0, 16, (64, 64)).astype(np.float32)}
    got, expected = from_json(ask(server, inputs)), by_onnxruntime(str(MLP), inputs)
    np.testing.assert_array_equal(got["label"], expected["label"])
    np.testing.assert_array_equal(got["probabilities"], expected["probabilities"])


def test_flat_and_nested_data_and_a_body_without_content_type(server: Server) -> None:
    request = in_json(SEVEN_TENSOR, id="7")
    flat = server.client.post(INFER, json=request).json()
    assert flat["id"] == "7"
    assert flat["model_name"] == "mlp"
    assert flat["outputs"][0]["data"] == [7]
    assert "id" not in ask(server, SEVEN_TENSOR).json()
    request["inputs"][0]["data"] = [SEVEN_PIXELS]
    assert server.client.post(INFER, content=json.dumps(request)).json() == flat
    version = flat["model_version"]
    assert server.client.post(f"/v2/models/mlp/versions/{version}/infer", json=request).json() == flat


def test_response_has_the_requested_outputs_in_their_order(server: Server) -> None:
    answer = ask(
        server, SEVEN_TENSOR, outputs=[{"name": "probabilities"}, {"name": "label"}], parameters={"priority": 3}
    )
    assert [output["name"] for output in answer.json()["outputs"]] == ["probabilities", "label"]
    assert [each["name"] for each in ask(server, SEVEN_TENSOR, outputs=[{"name": "label"}]).json()["outputs"]] == [
        "label"
    ]


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
        more_rows = {"a": unlike["a"], "b": np.ones((2, 3), np.float32)}
        same(from_json(ask(server, more_rows, "free")), by_onnxruntime(free, more_rows))
        refused(ask(server, {"a": np.ones((3, 3), np.float32), "b": more_rows["b"]}, "free"), 422, "free")
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
    many = {"features": np.repeat(SEVEN_TENSOR["features"], 32, axis=0)}
    headers = {"Content-Encoding": encoding, "Accept-Encoding": encoding}
    answer = server.client.post(INFER, content=pack(json.dumps(in_json(many)).encode()), headers=headers)
    assert answer.headers["content-encoding"] == encoding
    assert from_json(answer)["label"].tolist() == [7] * 32
    plain = server.client.post(INFER, json=in_json(many), headers={"Accept-Encoding": f"{encoding};q=0, br"})
    assert "content-encoding" not in plain.headers
    assert answer.content == plain.content
    assert "content-encoding" not in ask(server, SEVEN_TENSOR).headers  # not worthwhile


def test_invalid_compressed_bodies_are_rejected(server: Server) -> None:
    body = json.dumps(in_json(SEVEN_TENSOR)).encode()
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
