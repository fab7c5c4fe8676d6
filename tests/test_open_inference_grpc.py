"""The Open Inference Protocol over gRPC, on a real server: right answers, and the status that fits what is wrong."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from common.protocol import open_inference_pb2 as pb
from common.protocol.tensors_grpc import CONTENTS
from tests.calls import inference_stub
from tests.processes import free_port
from tests.servers import MLP, SEVEN_PIXELS, Server, serving, slow_pixels, slow_reader, starting
from tests.tensors import KINDS, Arrays, by_onnxruntime, described, every_type, in_binary, in_json, same, values

SEVEN: Arrays = {"features": np.array([SEVEN_PIXELS], np.float32)}
INFER = "/inference.GRPCInferenceService/ModelInfer"
Code = grpc.StatusCode


class Asked:
    """A server, and the stubs of a channel to it."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub = inference_stub(self.channel)
        self.health: Any = HealthStub(self.channel)

    def infer(self, inputs: Arrays, raw: bool = True, model: str = "mlp", **request: Any) -> pb.ModelInferResponse:
        answer: pb.ModelInferResponse = self.stub.ModelInfer(message(inputs, raw, model, **request), timeout=20)
        return answer


@contextmanager
def asked(**settings: object) -> Iterator[Asked]:
    port = free_port()
    with serving(grpc_port=port, **settings) as server:
        client = Asked(server, port)
        yield client
        client.channel.close()


@pytest.fixture(scope="module")
def client() -> Iterator[Asked]:
    with asked(max_body_bytes=100_000) as client:
        yield client


@pytest.fixture(scope="module")
def all_types(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Asked, str]]:
    uri = every_type(tmp_path_factory.mktemp("models") / "every_type.onnx")
    with asked(model_uri=uri) as client:
        yield client, uri


def message(inputs: Arrays, raw: bool = True, model: str = "mlp", **request: Any) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=model, inputs=described(inputs), **request)
    if raw:
        message.raw_input_contents.extend(in_binary(inputs))
        return message
    for tensor, array in zip(message.inputs, inputs.values(), strict=True):
        elements = array.ravel().tolist()
        if tensor.datatype == "BYTES":
            elements = [text.encode() for text in elements]
        getattr(tensor.contents, CONTENTS[tensor.datatype]).extend(elements)
    return message


def outputs_of(answer: pb.ModelInferResponse) -> Arrays:
    outputs: Arrays = {}
    for number, tensor in enumerate(answer.outputs):
        dtype = KINDS[tensor.datatype][1]
        elements: Any
        if dtype != "O" and answer.raw_output_contents:
            elements = np.frombuffer(answer.raw_output_contents[number], dtype)
        else:
            elements = np.array(list(getattr(tensor.contents, CONTENTS[tensor.datatype])), dtype)
        outputs[tensor.name] = elements.reshape(list(tensor.shape))
    return outputs


def refused(code: grpc.StatusCode, call: Callable[[], object], *words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    assert error.code() == code, error
    assert all(word in error.details() for word in words), error


def test_metadata_and_health_are_those_of_rest(client: Asked) -> None:
    metadata = client.server.get("/v2/models/mlp").json()
    version = metadata["versions"][0]
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


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_every_type_raw(all_types: tuple[Asked, str], rows: int) -> None:
    client, uri = all_types
    inputs = values(rows, rows)
    answer = client.infer(inputs, model="every_type", id="7")
    assert (answer.id, answer.model_name) == ("7", "every_type")
    expected = by_onnxruntime(uri, inputs)
    assert list(answer.raw_output_contents) == in_binary(expected)
    assert [(output.name, list(output.shape)) for output in answer.outputs] == [
        (name, list(array.shape)) for name, array in expected.items()
    ]


def test_typed_contents_are_answered_in_kind(client: Asked) -> None:
    answer = client.infer(SEVEN, raw=False, outputs=[{"name": "label"}])
    assert list(answer.outputs[0].contents.int64_contents) == [7]
    assert not answer.raw_output_contents
    same({"label": outputs_of(client.infer(SEVEN))["label"]}, {"label": np.array([7])})


def test_every_type_but_fp16_has_typed_contents(all_types: tuple[Asked, str]) -> None:
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


def test_wrong_requests(client: Asked) -> None:
    features = SEVEN["features"]
    wrong: list[tuple[Arrays, str]] = [
        ({}, "features"),
        ({"feature": features}, "feature"),
        ({"features": features.astype(np.float64)}, "FP32"),
        ({"features": features[:, :63]}, "[-1, 64]"),
        ({"features": features[0]}, "[-1, 64]"),
        ({"features": features[:0]}, "[-1, 64]"),
        ({"features": np.zeros((65, 64), np.float32)}, "64 rows"),
        ({"features": features, "more": features}, "more"),
    ]
    for raw in (True, False):
        for inputs, word in wrong:
            refused(Code.INVALID_ARGUMENT, lambda i=inputs, r=raw: client.infer(i, r), word)  # type: ignore[misc]
    infer = client.infer
    refused(Code.INVALID_ARGUMENT, lambda: infer(SEVEN, outputs=[{"name": "nope"}]), "label", "nope")
    refused(Code.INVALID_ARGUMENT, lambda: infer(SEVEN, outputs=[{"name": "label"}] * 2), "twice")
    for name, version in (("nope", ""), ("mlp", "1"), ("", "")):
        refused(Code.NOT_FOUND, lambda n=name, v=version: infer(SEVEN, model=n, model_version=v), "mlp")  # type: ignore[misc]
    refused(Code.NOT_FOUND, lambda: client.stub.ModelReady(pb.ModelReadyRequest(name="nope")), "mlp")
    refused(Code.NOT_FOUND, lambda: client.stub.ModelMetadata(pb.ModelMetadataRequest(name="nope")), "mlp")


def test_wrong_contents(client: Asked) -> None:
    def change(raw: bool, **fields: Any) -> pb.ModelInferRequest:
        request = message(SEVEN, raw)
        for name, value in fields.items():
            if name in ("shape", "contents"):
                request.inputs[0].ClearField(name)
                request.inputs[0].MergeFrom(pb.ModelInferRequest.InferInputTensor(**{name: value}))
            else:
                request.ClearField(name)
                getattr(request, name).extend(value)
        return request

    part = in_binary(SEVEN)[0]
    for request in (
        change(True, raw_input_contents=[part, part]),
        change(True, raw_input_contents=[part[:-1]]),
        change(True, raw_input_contents=[part + b"x"]),
        change(True, shape=[2**62, 64]),
        change(True, shape=[-1, 64]),
        change(True, shape=[1, -64]),
        change(True, contents={"fp32_contents": [1.0]}),
        change(False, contents={"fp32_contents": [1.0] * 63}),
        change(False, contents={"fp64_contents": [1.0] * 64}),
        change(False, contents={"fp32_contents": [1.0] * 64, "int_contents": [1]}),
        change(False, contents={}),
        change(False, inputs=list(message(SEVEN, False).inputs) * 2),
    ):
        refused(Code.INVALID_ARGUMENT, lambda r=request: client.stub.ModelInfer(r), "input")  # type: ignore[misc]
    raw_call_to: Any = client.channel.unary_unary
    raw_call = raw_call_to(INFER)
    refused(Code.INVALID_ARGUMENT, lambda: raw_call(b"\xff\xff\xff"), "ModelInferRequest")
    refused(Code.RESOURCE_EXHAUSTED, lambda: raw_call(bytes(100_001)))
    refused(Code.RESOURCE_EXHAUSTED, lambda: raw_call(bytes(10**8), compression=grpc.Compression.Gzip))
    refused(Code.UNIMPLEMENTED, lambda: raw_call_to("/inference.GRPCInferenceService/Nope")(b""))
    assert client.server.memory_mb("VmHWM") < 400


def test_numbers_and_strings_that_do_not_fit(all_types: tuple[Asked, str]) -> None:
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


@pytest.mark.full
def test_deadlines_overload_and_cancellation(tmp_path_factory: pytest.TempPathFactory) -> None:
    uri = slow_reader(tmp_path_factory.mktemp("models") / "slow.onnx")
    with asked(model_uri=uri, max_queue_rows=2, max_concurrent_requests=4) as client:
        slow = {"features": np.array([slow_pixels(0.6)["pixels"]], np.float32)}
        request = message(slow, model="slow")
        refused(Code.DEADLINE_EXCEEDED, lambda: client.stub.ModelInfer(request, timeout=0.1))
        bounded = message(slow, model="slow", parameters={"timeout": pb.InferParameter(int64_param=100_000)})
        refused(Code.DEADLINE_EXCEEDED, lambda: client.stub.ModelInfer(bounded, timeout=10), "deadline")
        calls = [client.stub.ModelInfer.future(request, timeout=10) for _ in range(8)]
        assert client.stub.ServerLive(pb.ServerLiveRequest(), timeout=1).live  # nor is health refused
        codes = [call.code() for call in calls]
        assert set(codes) == {Code.OK, Code.UNAVAILABLE}, codes
        cancelled = client.stub.ModelInfer.future(request)
        time.sleep(0.1)
        cancelled.cancel()
        assert client.server.logged(path=INFER, status=499)
        assert client.server.logged(path=INFER, status=503)
        assert client.server.logged(path=INFER, status=504)


def test_every_call_is_in_log_and_metrics(client: Asked) -> None:
    before = client.server.metric("http_requests_total", path=INFER, status="200")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer, call = client.stub.ModelInfer.with_call(message(SEVEN), metadata=(("traceparent", trace),))
    assert outputs_of(answer)["label"].tolist() == [7]
    trailing = dict(call.trailing_metadata())
    assert trailing["traceparent"].split("-")[1] == trace.split("-")[1]
    timings = {entry.split(";")[0].strip() for entry in trailing["server-timing"].split(",")}
    assert timings == {"decode", "queue", "predict", "total"}
    assert client.server.metric("http_requests_total", path=INFER, status="200") == before + 1
    assert client.server.logged(path=INFER, status=200, trace_id=trace.split("-")[1])


@pytest.mark.full
def test_sigterm_is_told_to_health_and_work_in_flight_is_finished(tmp_path_factory: pytest.TempPathFactory) -> None:
    uri = slow_reader(tmp_path_factory.mktemp("models") / "slow.onnx")
    with asked(model_uri=uri, drain_seconds=1.0) as client:
        watched = client.health.Watch(HealthCheckRequest(service="inference.GRPCInferenceService"))
        assert next(watched).status == HealthCheckResponse.SERVING
        slow = {"features": np.array([slow_pixels(1.6)["pixels"]], np.float32)}
        in_flight = client.stub.ModelInfer.future(message(slow, model="slow"), timeout=10)
        time.sleep(0.2)
        client.server.process.terminate()
        assert next(watched).status == HealthCheckResponse.NOT_SERVING
        assert not client.stub.ServerReady(pb.ServerReadyRequest()).ready
        late = client.stub.ModelInfer.future(message(SEVEN, model="slow"), timeout=10)
        assert outputs_of(in_flight.result())["label"].tolist() == [7]
        assert outputs_of(late.result())["label"].tolist() == [7]
        client.server.process.wait(5)  # who watches the health does not hold the server up
        assert not [line for line in client.server.log_lines() if line["level"] == "ERROR"]


def test_no_call_is_lost_when_the_server_ends() -> None:
    """16 callers who do not heed the health: what they get is an answer, or once the port is closed, no connection."""
    with asked(drain_seconds=0.3) as client:
        answers, failures = asyncio.run(ask_to_the_end(client))
        assert len(answers) > 100
        assert set(answers) == {7}
        assert set(failures) <= {Code.UNAVAILABLE, Code.CANCELLED}, failures
        assert client.server.process.wait(5) is not None


async def ask_to_the_end(client: Asked) -> tuple[list[int], list[grpc.StatusCode]]:
    answers: list[int] = []
    failures: list[grpc.StatusCode] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{client.port}") as channel:

        async def caller() -> None:
            try:
                while True:
                    answer = await inference_stub(channel).ModelInfer(message(SEVEN), timeout=10)
                    answers.append(int(outputs_of(answer)["label"][0]))
            except grpc.aio.AioRpcError as error:
                failures.append(error.code())

        async def end() -> None:
            await asyncio.sleep(0.5)
            client.server.process.terminate()

        await asyncio.gather(end(), *(caller() for _ in range(16)))
        return answers, failures


@pytest.mark.full
def test_ctrl_c_does_not_wait(client: Asked) -> None:
    with asked(drain_seconds=20) as other:
        assert other.infer(SEVEN).model_name == "mlp"
        other.server.process.send_signal(2)
        other.server.process.wait(3)


@pytest.mark.full
def test_a_port_that_is_taken_ends_the_process_and_zero_means_none(client: Asked) -> None:
    with starting(grpc_port=client.port) as second:
        assert second.process.wait(20)
        assert f"cannot listen on 127.0.0.1:{client.port}" in second.log.read_text()
    with serving(grpc_port="") as none:
        assert none.get("/v2/health/ready").status_code == 200


def test_rest_and_grpc_at_once_each_get_their_own_answer(client: Asked) -> None:
    """200 requests of 1 to 4 rows over four ways, from one batch queue."""
    random = np.random.default_rng(0)
    inputs = [{"features": random.uniform(0, 16, (1 + n % 4, 64)).astype(np.float32)} for n in range(200)]
    expected = [by_onnxruntime(str(MLP), each)["probabilities"] for each in inputs]
    got = asyncio.run(ask_all(client, inputs))
    for mine, right in zip(got, expected, strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-4, atol=1e-6)


async def ask_all(client: Asked, inputs: list[Arrays]) -> list[Any]:
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
