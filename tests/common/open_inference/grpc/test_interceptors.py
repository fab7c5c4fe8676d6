"""A user's gRPC interceptors, on a real server: an API key, exactly as web_single/README.md shows it."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from fastapi import FastAPI
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from common.inference.predictor import Predictor, load_model
from common.open_inference.generated import open_inference_pb2 as pb
from common.open_inference.grpc.service import STREAM_INFER, add_open_inference_grpc
from common.service.service import Service
from tests.support.open_inference.grpc_client import INFER, GrpcClient, grpc_client, message, outputs_of, refused
from tests.support.open_inference.tensors import SEVEN_TENSOR
from tests.support.processes import ROOT, wait_until
from web_single.settings import Settings

Code = grpc.StatusCode
KEY = ("x-api-key", "secret")
HEADING = "### gRPC: an API key"


def create_app() -> FastAPI:
    """A predictor with the README's interceptor."""
    snippet: dict[str, type[grpc.aio.ServerInterceptor]] = {}
    section = (ROOT / "web_single" / "README.md").read_text().partition(HEADING)[2]
    exec(section.partition("```python\n")[2].partition("```")[0], snippet)
    settings = Settings.from_environment()
    app = Service("predictor with an API key", settings)
    predictor = Predictor(load_model(settings), settings, app.metrics)
    interceptor = snippet["ApiKeyInterceptor"](KEY[1])  # type: ignore[call-arg]
    add_open_inference_grpc(app, predictor, settings, interceptors=[interceptor])
    return app


@pytest.fixture(scope="module")
def client() -> Iterator[GrpcClient]:
    with grpc_client(f"{__name__}:create_app") as client:
        yield client


@pytest.mark.parametrize("metadata", [[], [("x-api-key", "guess")]], ids=["no key", "wrong key"])
def test_call_without_the_api_key_is_unauthenticated(client: GrpcClient, metadata: list[tuple[str, str]]) -> None:
    rejected = client.server.metric("http_requests_total", path=INFER, status="401")
    refused(Code.UNAUTHENTICATED, lambda: client.stub.ModelInfer(message(SEVEN_TENSOR), metadata=metadata), "x-api-key")
    refused(Code.UNAUTHENTICATED, lambda: client.stub.ServerLive(pb.ServerLiveRequest(), metadata=metadata))
    wait_until(lambda: client.server.metric("http_requests_total", path=INFER, status="401") == rejected + 1, 10)
    assert client.server.logged(path=INFER, status=401)


def test_call_with_the_api_key_is_answered(client: GrpcClient) -> None:
    answer, call = client.stub.ModelInfer.with_call(message(SEVEN_TENSOR), metadata=[KEY])
    assert outputs_of(answer)["label"].tolist() == [7]
    assert {"server-timing", "traceparent"} <= dict(call.trailing_metadata()).keys()


def test_stream_needs_the_api_key_too(client: GrpcClient) -> None:
    rejected = client.server.metric("http_requests_total", path=STREAM_INFER, status="401")
    without = client.stub.ModelStreamInfer(iter([message(SEVEN_TENSOR)]), timeout=20)
    refused(Code.UNAUTHENTICATED, lambda: next(without), "x-api-key")
    wait_until(lambda: client.server.metric("http_requests_total", path=STREAM_INFER, status="401") == rejected + 1, 10)
    (answer,) = client.stub.ModelStreamInfer(iter([message(SEVEN_TENSOR)]), metadata=[KEY], timeout=20)
    assert outputs_of(answer.infer_response)["label"].tolist() == [7]


def test_health_check_needs_no_api_key(client: GrpcClient) -> None:
    assert client.health.Check(HealthCheckRequest()).status == HealthCheckResponse.SERVING


class Others(grpc.aio.ServerInterceptor):
    """Ends calls in the other ways that gRPC has, as the call's metadata ask, and adds metadata of its own."""

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        how = dict(handler_call_details.invocation_metadata or ()).get("how")
        handler = await continuation(handler_call_details)

        def abort(request: bytes, context: grpc.ServicerContext) -> None:
            context.abort(Code.UNAUTHENTICATED, "a plain function")

        async def deny(request: Any, context: Any) -> pb.ModelInferResponse:
            context.set_code(Code.PERMISSION_DENIED)
            return pb.ModelInferResponse()

        async def add(request: Any, context: Any) -> Any:
            context.set_trailing_metadata((("x-own", "1"),))
            return await handler.unary_unary(request, context)

        if how == "abort":
            return grpc.unary_unary_rpc_method_handler(abort)
        codec = (handler.request_deserializer, handler.response_serializer)
        return grpc.unary_unary_rpc_method_handler(deny if how == "deny" else add, *codec) if how else handler


def create_app_with_others() -> FastAPI:
    settings = Settings.from_environment()
    app = Service("predictor with other interceptors", settings)
    add_open_inference_grpc(
        app, Predictor(load_model(settings), settings, app.metrics), settings, interceptors=[Others()]
    )
    return app


def test_an_interceptor_may_end_a_call_in_any_way_that_grpc_has() -> None:
    with grpc_client(f"{__name__}:create_app_with_others") as client:
        ask = client.stub.ModelInfer.with_call
        refused(Code.UNAUTHENTICATED, lambda: ask(message(SEVEN_TENSOR), metadata=[("how", "abort")]), "plain function")
        refused(Code.PERMISSION_DENIED, lambda: ask(message(SEVEN_TENSOR), metadata=[("how", "deny")]))
        wait_until(lambda: client.server.metric("http_requests_total", path=INFER, status="403") == 1, 10)
        _, call = ask(message(SEVEN_TENSOR), metadata=[("how", "add")])
        assert {"server-timing", "traceparent", "x-own"} <= dict(call.trailing_metadata()).keys()
