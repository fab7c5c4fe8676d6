"""A classifier in another service, called over gRPC.

There is one channel, which reconnects by itself within a second of the backend's return. Keepalive pings detect a peer
that vanished without closing the connection; without them every call would wait for it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import grpc

from common.backends.backend import Backend
from common.backends.classifier import Classification, Tensors, validate_outputs
from common.backends.errors import BackendError, Reason
from common.open_inference.datatypes import DTYPES, datatype
from common.open_inference.generated import open_inference_pb2 as pb
from common.open_inference.tensors_binary import from_answer, to_binary
from common.service.deadline import Caller
from common.service.service import Service
from common.telemetry.server_timing import merge_timings
from common.telemetry.tracing import current_trace

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
    ("grpc.lb_policy_name", "round_robin"),  # if the name resolves to several addresses
]
Outcome = tuple[Reason, bool, int]
OUTCOMES: dict[grpc.StatusCode, Outcome] = {
    grpc.StatusCode.UNAVAILABLE: ("refused", True, 503),
    grpc.StatusCode.RESOURCE_EXHAUSTED: ("refused", False, 429),
    grpc.StatusCode.CANCELLED: ("refused", True, 503),  # the server is closing, and the call came a moment too late
    grpc.StatusCode.DEADLINE_EXCEEDED: ("timeout", False, 504),
    grpc.StatusCode.INVALID_ARGUMENT: ("error", False, 400),
    grpc.StatusCode.NOT_FOUND: ("error", False, 404),
}
"""By gRPC status: the reason, whether a retry may help, and the equivalent HTTP status."""
FAILED: Outcome = ("error", False, 500)


class GrpcClassifier:
    """Calls the model at `url` (`grpc://HOST:PORT/v2/models/NAME`) and returns its `outputs`.

    The first output must hold `classes` probabilities for each row. With 0, it may hold any finite numbers.
    """

    def __init__(self, backend: Backend, app: Service, url: str, *, outputs: Sequence[str], classes: int) -> None:
        self._backend = backend
        self._outputs = tuple(outputs)
        self._classes = classes
        parts = urlsplit(url)
        self._address = parts.netloc.rpartition("@")[2]  # gRPC has no user in an address, and would log it
        self._model = parts.path.rpartition("/")[2]
        app.add_lifespan(self._open)

    async def classify(self, inputs: Tensors, caller: Caller) -> Classification:
        """The outputs for inputs of n rows each; raises `BackendError`."""
        request = pb.ModelInferRequest(model_name=self._model)
        for name, values in inputs.items():
            request.inputs.add(name=name, datatype=datatype(values.dtype), shape=values.shape)
            request.raw_input_contents.append(to_binary(values))
        for name in self._outputs:
            request.outputs.add(name=name)
        rows = len(next(iter(inputs.values())))
        return await self._backend.call(partial(self._send, request, caller, rows), caller)

    async def is_ready(self) -> bool:
        """Whether the model is loaded and can predict."""
        try:
            answer = await self._model_ready(pb.ModelReadyRequest(name=self._model))
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.ready)

    async def _send(self, request: pb.ModelInferRequest, caller: Caller, rows: int, seconds: float) -> Classification:
        trace = current_trace.get()
        call = self._infer(request, timeout=seconds, metadata=(("traceparent", trace.traceparent),) if trace else None)
        try:
            response: pb.ModelInferResponse = await call
        except grpc.aio.AioRpcError as error:
            raise _to_error(error) from None
        trailer = dict(await call.trailing_metadata() or ())
        merge_timings(caller.timings, self._backend.name, str(trailer.get("server-timing", "")))
        try:
            outputs = _read_outputs(response, self._outputs)
            validate_outputs(outputs, self._classes, rows)
        except ValueError as error:
            raise BackendError("error", f"invalid answer: {error}", retryable=True) from None
        return Classification(outputs, response.model_name, response.model_version)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with grpc.aio.insecure_channel(self._address, options=OPTIONS) as channel:
            self._infer = _method(channel, "ModelInfer", pb.ModelInferResponse)
            self._model_ready = _method(channel, "ModelReady", pb.ModelReadyResponse)
            yield


def _method(channel: grpc.aio.Channel, name: str, response: Any) -> "grpc.aio.UnaryUnaryMultiCallable[Any, Any]":
    return channel.unary_unary(f"/{SERVICE}/{name}", lambda request: request.SerializeToString(), response.FromString)


def _read_outputs(response: pb.ModelInferResponse, names: tuple[str, ...]) -> Tensors:
    """The outputs that were requested, in that order; raises `ValueError`."""
    outputs, contents = response.outputs, response.raw_output_contents
    if sorted(output.name for output in outputs) != sorted(names) or len(contents) != len(names):
        raise ValueError(f"expected {', '.join(names)} in raw_output_contents, got {len(outputs)} outputs")
    found: Tensors = {}
    for output, content in zip(outputs, contents, strict=True):
        if output.datatype not in DTYPES:
            raise ValueError(f"{output.name}: unknown datatype {output.datatype!r:.20}")
        found[output.name] = from_answer(content, output.datatype, output.shape)
    return {name: found[name] for name in names}


def _to_error(error: grpc.aio.AioRpcError) -> BackendError:
    reason, retryable, status = OUTCOMES.get(error.code(), FAILED)
    return BackendError(reason, f"it answered {error.code().name}", retryable, status, str(error.details())[:200])
