"""A classifier that another service holds, asked over gRPC.

One channel, which connects again by itself within a second of the other side's return. A peer that is gone without a
word is noticed by pings, since on its one connection every call would wait for it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
from numpy.typing import NDArray

from common.backends.backend import Backend, BackendError, Caller, Reason
from common.backends.classifier import Classification, checked
from common.backends.infer_client import FP32
from common.domain import digits
from common.open_inference.generated import open_inference_pb2 as pb
from common.service.server_timing import merge_timings
from common.service.service import Service
from common.service.tracing import current_trace

SERVICE = "inference.GRPCInferenceService"
OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.ping_timeout_ms", 1_000),  # `keepalive_timeout_ms` does not bound the wait for a ping's answer
    ("grpc.enable_retries", 0),  # `Backend` does that
    ("grpc.lb_policy_name", "round_robin"),  # where the name stands for several
]
Outcome = tuple[Reason, bool, int]
OUTCOMES: dict[grpc.StatusCode, Outcome] = {
    grpc.StatusCode.UNAVAILABLE: ("refused", True, 503),
    grpc.StatusCode.RESOURCE_EXHAUSTED: ("refused", False, 429),
    grpc.StatusCode.CANCELLED: ("refused", True, 503),  # it closes, and the call came a moment too late
    grpc.StatusCode.DEADLINE_EXCEEDED: ("timeout", False, 504),
    grpc.StatusCode.INVALID_ARGUMENT: ("error", False, 400),
    grpc.StatusCode.NOT_FOUND: ("error", False, 404),
}
"""By status: the reason, whether a second try may help, and its equal in HTTP."""
FAILED: Outcome = ("error", False, 500)


class GrpcClassifier:
    """The model at `url` (`grpc://HOST:PORT/v2/models/NAME`), which tells `classes` probabilities for each row."""

    def __init__(self, backend: Backend, app: Service, url: str, classes: int) -> None:
        self._backend = backend
        self._classes = classes
        parts = urlsplit(url)
        self._target, self._model = parts.netloc, parts.path.rpartition("/")[2]
        app.add_lifespan(self._open)

    async def classify(self, features: NDArray[np.float32], caller: Caller) -> Classification:
        """The probabilities for features of shape (n, m); raises `BackendError`."""
        request = pb.ModelInferRequest(
            model_name=self._model, raw_input_contents=[features.astype(FP32, copy=False).tobytes()]
        )
        request.inputs.add(name=digits.INPUT, datatype="FP32", shape=features.shape)
        request.outputs.add(name=digits.OUTPUT)
        return await self._backend.call(partial(self._ask, request, caller, len(features)), caller)

    async def is_ready(self) -> bool:
        """Whether the model is there and can predict."""
        try:
            answer = await self._model_ready(pb.ModelReadyRequest(name=self._model))
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.ready)

    async def _ask(self, request: pb.ModelInferRequest, caller: Caller, rows: int, seconds: float) -> Classification:
        trace = current_trace.get()
        call = self._infer(request, timeout=seconds, metadata=(("traceparent", trace.traceparent),) if trace else None)
        try:
            response: pb.ModelInferResponse = await call
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from None
        trailer = dict(await call.trailing_metadata() or ())
        merge_timings(caller.timings, self._backend.name, str(trailer.get("server-timing", "")))
        try:
            values = _output(response)
        except ValueError as error:
            raise BackendError("error", f"it answered rubbish: {error}", again=True) from None
        return Classification(checked(values, self._classes, rows), response.model_name, response.model_version)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with grpc.aio.insecure_channel(self._target, options=OPTIONS) as channel:
            self._infer = _method(channel, "ModelInfer", pb.ModelInferResponse)
            self._model_ready = _method(channel, "ModelReady", pb.ModelReadyResponse)
            yield


def _method(channel: grpc.aio.Channel, name: str, response: Any) -> "grpc.aio.UnaryUnaryMultiCallable[Any, Any]":
    return channel.unary_unary(f"/{SERVICE}/{name}", lambda request: request.SerializeToString(), response.FromString)


def _output(response: pb.ModelInferResponse) -> NDArray[np.float32]:
    """The one output that was asked for; raises `ValueError`."""
    outputs, contents = response.outputs, response.raw_output_contents
    if [(output.name, output.datatype) for output in outputs] != [(digits.OUTPUT, "FP32")] or len(contents) != 1:
        raise ValueError(f"expected {digits.OUTPUT} in raw_output_contents, got {len(outputs)} outputs")
    return np.frombuffer(contents[0], FP32).reshape(outputs[0].shape)


def _refusal(error: grpc.aio.AioRpcError) -> BackendError:
    reason, again, status = OUTCOMES.get(error.code(), FAILED)
    return BackendError(reason, f"it answered {error.code().name}", again, status, str(error.details())[:200])
