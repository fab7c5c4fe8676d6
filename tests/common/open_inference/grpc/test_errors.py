"""Wrong, late and too many requests over gRPC: each gets the status that fits, and words that say why."""

import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from common.open_inference.generated import open_inference_pb2 as pb
from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.open_inference.grpc_client import INFER, GrpcClient, grpc_client, message, refused
from tests.support.open_inference.tensors import SEVEN_TENSOR, Arrays, in_binary

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def client() -> Iterator[GrpcClient]:
    with grpc_client(max_body_bytes=100_000, max_queue_rows=30) as client:
        yield client


def test_wrong_requests(client: GrpcClient) -> None:
    features = SEVEN_TENSOR["features"]
    wrong: list[tuple[Arrays, str]] = [
        ({}, "features"),
        ({"feature": features}, "feature"),
        ({"features": features.astype(np.float64)}, "FP32"),
        ({"features": features[:, :63]}, "[-1, 64]"),
        ({"features": features[0]}, "[-1, 64]"),
        ({"features": features[:0]}, "cannot process this input"),
        ({"features": features, "more": features}, "more"),
    ]
    for raw in (True, False):
        for inputs, word in wrong:
            refused(Code.INVALID_ARGUMENT, lambda i=inputs, r=raw: client.infer(i, r), word)  # type: ignore[misc]
    infer = client.infer
    refused(Code.RESOURCE_EXHAUSTED, lambda: infer({"features": np.zeros((31, 64), np.float32)}), "30 rows")
    refused(Code.INVALID_ARGUMENT, lambda: infer(SEVEN_TENSOR, outputs=[{"name": "nope"}]), "label", "nope")
    refused(Code.INVALID_ARGUMENT, lambda: infer(SEVEN_TENSOR, outputs=[{"name": "label"}] * 2), "twice")
    for name, version in (("nope", ""), ("mlp", "1"), ("", "")):
        refused(Code.NOT_FOUND, lambda n=name, v=version: infer(SEVEN_TENSOR, model=n, model_version=v), "mlp")  # type: ignore[misc]
    refused(Code.NOT_FOUND, lambda: client.stub.ModelReady(pb.ModelReadyRequest(name="nope")), "mlp")
    refused(Code.NOT_FOUND, lambda: client.stub.ModelMetadata(pb.ModelMetadataRequest(name="nope")), "mlp")


def test_wrong_contents(client: GrpcClient) -> None:
    def change(raw: bool, **fields: Any) -> pb.ModelInferRequest:
        request = message(SEVEN_TENSOR, raw)
        for name, value in fields.items():
            if name in ("shape", "contents"):
                request.inputs[0].ClearField(name)
                request.inputs[0].MergeFrom(pb.ModelInferRequest.InferInputTensor(**{name: value}))
            else:
                request.ClearField(name)
                getattr(request, name).extend(value)
        return request

    part = in_binary(SEVEN_TENSOR)[0]
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
        change(False, inputs=list(message(SEVEN_TENSOR, False).inputs) * 2),
    ):
        refused(Code.INVALID_ARGUMENT, lambda r=request: client.stub.ModelInfer(r), "input")  # type: ignore[misc]
    raw_call_to: Any = client.channel.unary_unary
    raw_call = raw_call_to(INFER)
    refused(Code.INVALID_ARGUMENT, lambda: raw_call(b"\xff\xff\xff"), "ModelInferRequest")
    refused(Code.RESOURCE_EXHAUSTED, lambda: raw_call(bytes(100_001)), "100000 bytes (MAX_BODY_BYTES)")
    refused(Code.RESOURCE_EXHAUSTED, lambda: raw_call(bytes(200_001)))
    refused(Code.RESOURCE_EXHAUSTED, lambda: raw_call(bytes(10**8), compression=grpc.Compression.Gzip))
    refused(Code.UNIMPLEMENTED, lambda: raw_call_to("/inference.GRPCInferenceService/Nope")(b""))
    assert client.server.memory_mb("VmHWM") < 400


@pytest.mark.full
def test_deadlines_overload_and_cancellation(tmp_path_factory: pytest.TempPathFactory) -> None:
    uri = slow_reader(tmp_path_factory.mktemp("models") / "slow.onnx")
    with grpc_client(model_uri=uri, batching="on", max_queue_rows=2, max_concurrent_requests=4) as client:
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


def test_a_refused_request_leaves_nothing_of_its_tensors_in_memory() -> None:
    too_many = message({"features": np.zeros((40_000, 64), np.float32)})
    no_model = message({"features": np.zeros((40_000, 64), np.float32)}, model="nope")
    no_fit = message({"features": np.zeros((40_000, 64), np.float32)}, raw=False)
    no_fit.inputs[0].shape[:] = [1, 64]
    with grpc_client() as client:

        def refuse(times: int) -> float:
            for _ in range(times):
                for code, request in (
                    (Code.RESOURCE_EXHAUSTED, too_many),
                    (Code.NOT_FOUND, no_model),
                    (Code.INVALID_ARGUMENT, no_fit),
                ):
                    refused(code, lambda r=request: client.stub.ModelInfer(r, timeout=20))  # type: ignore[misc]
            return client.server.memory_mb()

        first = refuse(4)
        assert refuse(16) < first + 200  # of 480; gRPC's own buffers come and go
