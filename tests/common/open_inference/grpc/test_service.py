"""The Open Inference Protocol over gRPC, on a real server: metadata, health, and right answers of every type."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from common.open_inference.generated import open_inference_pb2 as pb
from tests.support.load.grpc_and_rest import inference_stub
from tests.support.models.foreign_models import without_inputs
from tests.support.open_inference.grpc_client import INFER, GrpcClient, grpc_client, message, outputs_of, refused
from tests.support.open_inference.tensors import (
    SEVEN_TENSOR,
    Arrays,
    by_onnxruntime,
    described,
    every_type,
    in_binary,
    in_json,
    same,
    values,
)
from tests.support.samples import MLP

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def client() -> Iterator[GrpcClient]:
    with grpc_client(max_body_bytes=100_000) as client:
        yield client


@pytest.fixture(scope="module")
def all_types(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GrpcClient, str]]:
    uri = every_type(tmp_path_factory.mktemp("models") / "every_type.onnx")
    with grpc_client(model_uri=uri) as client:
        yield client, uri


def test_metadata_and_health_are_those_of_rest(client: GrpcClient) -> None:
    metadata = client.server.get("/v2/models/mlp").json()
    version = metadata["versions"][0]
    batching, warmed_up = (metadata["parameters"][name] for name in ("batching", "warmed_up"))
    metadata["parameters"] = {
        "batching": pb.InferParameter(string_param=batching),
        "warmed_up": pb.InferParameter(bool_param=warmed_up),
    }
    for request in (pb.ModelMetadataRequest(name="mlp"), pb.ModelMetadataRequest(name="mlp", version=version)):
        assert client.stub.ModelMetadata(request) == pb.ModelMetadataResponse(**metadata)
    assert client.stub.ModelReady(pb.ModelReadyRequest(name="mlp", version=version)).ready
    assert client.stub.ServerLive(pb.ServerLiveRequest()).live
    assert client.stub.ServerReady(pb.ServerReadyRequest()).ready
    about = client.stub.ServerMetadata(pb.ServerMetadataRequest())
    assert about == pb.ServerMetadataResponse(**client.server.get("/v2").json())
    for service in ("", "inference.GRPCInferenceService"):
        assert client.health.Check(HealthCheckRequest(service=service)).status == HealthCheckResponse.SERVING
    refused(Code.NOT_FOUND, lambda: client.health.Check(HealthCheckRequest(service="nope")))


def test_every_call_is_in_log_and_metrics(client: GrpcClient) -> None:
    before = client.server.metric("http_requests_total", path=INFER, status="200")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer, call = client.stub.ModelInfer.with_call(message(SEVEN_TENSOR), metadata=(("traceparent", trace),))
    assert outputs_of(answer)["label"].tolist() == [7]
    trailing = dict(call.trailing_metadata())
    assert trailing["traceparent"].split("-")[1] == trace.split("-")[1]
    timings = {entry.split(";")[0].strip() for entry in trailing["server-timing"].split(",")}
    assert timings == {"decode", "queue", "predict", "total"}
    assert client.server.metric("http_requests_total", path=INFER, status="200") == before + 1
    assert client.server.logged(path=INFER, status=200, trace_id=trace.split("-")[1])


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_every_type_raw(all_types: tuple[GrpcClient, str], rows: int) -> None:
    client, uri = all_types
    inputs = values(rows, rows)
    answer = client.infer(inputs, model="every_type", id="7")
    assert (answer.id, answer.model_name) == ("7", "every_type")
    expected = by_onnxruntime(uri, inputs)
    assert list(answer.raw_output_contents) == in_binary(expected)
    assert [(output.name, list(output.shape)) for output in answer.outputs] == [
        (name, list(array.shape)) for name, array in expected.items()
    ]


def test_typed_contents_are_answered_with_typed_contents(client: GrpcClient) -> None:
    answer = client.infer(SEVEN_TENSOR, raw=False, outputs=[{"name": "label"}])
    assert list(answer.outputs[0].contents.int64_contents) == [7]
    assert not answer.raw_output_contents
    same({"label": outputs_of(client.infer(SEVEN_TENSOR))["label"]}, {"label": np.array([7])})


def test_a_model_without_inputs_is_answered_raw_which_every_client_reads(tmp_path: Path) -> None:
    uri = without_inputs(tmp_path / "constant.onnx")
    with grpc_client(model_uri=uri) as client:
        answer = client.infer({}, model="constant")
    assert list(answer.raw_output_contents) == in_binary(by_onnxruntime(uri, {}))


def test_every_type_but_fp16_has_typed_contents(all_types: tuple[GrpcClient, str]) -> None:
    """FP16 has none, so a request with it must be raw, and so is an answer."""
    client, uri = all_types
    inputs = values(2, 0)
    half = inputs.pop("in_FP16")
    request = message(inputs, raw=False, model="every_type")
    request.inputs.add(name="in_FP16", datatype="FP16", shape=half.shape)
    refused(Code.INVALID_ARGUMENT, lambda: client.stub.ModelInfer(request), "in_FP16", "raw")
    expected = by_onnxruntime(uri, inputs | {"in_FP16": half})
    names = [name for name in expected if name != "out_FP16"]
    raw = client.infer(inputs | {"in_FP16": half}, model="every_type", outputs=[{"name": name} for name in names])
    assert list(raw.raw_output_contents) == in_binary({name: expected[name] for name in names})


def test_numbers_and_strings_that_do_not_fit(all_types: tuple[GrpcClient, str]) -> None:
    client, _ = all_types
    for name, field, wrong in (
        ("in_INT8", "int_contents", [128, 0]),
        ("in_UINT8", "uint_contents", [256, 0]),
        ("in_BYTES", "bytes_contents", [b"\xff", b""]),
    ):
        inputs = values(1, 0)
        request = pb.ModelInferRequest(model_name="every_type", inputs=described({name: inputs[name]}))
        getattr(request.inputs[0].contents, field).extend(wrong)
        refused(Code.INVALID_ARGUMENT, lambda r=request: client.stub.ModelInfer(r), name)  # type: ignore[misc]


def test_rest_and_grpc_at_once_each_get_their_own_answer(client: GrpcClient) -> None:
    """200 requests of 1 to 4 rows over four ways, from one batch queue."""
    random = np.random.default_rng(0)
    inputs = [{"features": random.uniform(0, 16, (1 + n % 4, 64)).astype(np.float32)} for n in range(200)]
    expected = [by_onnxruntime(str(MLP), each)["probabilities"] for each in inputs]
    got = asyncio.run(ask_all(client, inputs))
    for mine, right in zip(got, expected, strict=True):
        np.testing.assert_array_equal(mine, right)


async def ask_all(client: GrpcClient, inputs: list[Arrays]) -> list[Any]:
    limits = httpx.Limits(max_connections=32)
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{client.port}") as channel,
        httpx.AsyncClient(base_url=client.server.url, limits=limits, timeout=20) as http,
    ):
        ours = inference_stub(channel)

        async def ask(number: int, mine: Arrays) -> Any:
            wanted = [{"name": "probabilities"}]
            if number % 2:
                answer = await ours.ModelInfer(
                    message(mine, number % 4 == 1, outputs=wanted, id=str(number)), timeout=20
                )
                assert answer.id == str(number)
                return outputs_of(answer)["probabilities"]
            body = json.dumps(in_json(mine, id=str(number), outputs=wanted))
            reply = await http.post("/v2/models/mlp/infer", content=body)
            assert reply.json()["id"] == str(number)
            output = reply.json()["outputs"][0]
            return np.array(output["data"]).reshape(output["shape"])

        return await asyncio.gather(*(ask(number, mine) for number, mine in enumerate(inputs)))
