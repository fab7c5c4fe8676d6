"""What happens around every gRPC call: limit, deadline, trace, timing, errors, metrics, log.

It is what `middleware.py` is to HTTP. Metrics and log tell a call's status as its equal in HTTP: one alert fits both.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from starlette.requests import ClientDisconnect

from common.service.access_log import RequestRecord
from common.service.problems import CLIENT_CLOSED_REQUEST, INTERNAL_ERROR, Problem
from common.service.server_timing import server_timing
from common.service.service import Service
from common.service.tracing import begin_span

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    CLIENT_CLOSED_REQUEST: grpc.StatusCode.CANCELLED,
    503: grpc.StatusCode.UNAVAILABLE,  # clients and balancers may try again elsewhere
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""By a problem's status in HTTP; any other is INTERNAL."""


@dataclass(slots=True)
class GrpcCall:
    """One call: its deadline as a `time.monotonic()`, and what took how many seconds."""

    deadline: float
    context: Context
    timings: dict[str, float] = field(default_factory=dict)

    def client_disconnected(self) -> bool:
        """Whether the caller has cancelled, or the connection is gone."""
        return bool(self.context.cancelled())


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service: what answers it, its path, and the type of its requests.

    If `limited`, it is refused while too many requests, HTTP and gRPC together, are in progress.
    """

    answer: Callable[[Any, GrpcCall], Awaitable[Message]]
    path: str
    request_type: type[Message]
    limited: bool


class GrpcEnvelope:
    """Calls methods, and turns whatever comes of it into a message or a gRPC status."""

    def __init__(self, app: Service) -> None:
        self.calls_in_flight = 0
        self._app = app
        self._settings = app.settings

    def handler(self, method: Method) -> "grpc.RpcMethodHandler[Any, Any]":
        """The method in its envelope, as gRPC wants it."""

        async def handle(data: bytes, context: Context) -> Message:
            return await self._handle(method, data, context)

        return grpc.unary_unary_rpc_method_handler(handle, None, lambda message: message.SerializeToString())

    async def _handle(self, method: Method, data: bytes, context: Context) -> Message:
        began, started = time.time(), time.monotonic()
        traceparent = dict(context.invocation_metadata() or ()).get("traceparent", "")
        trace = begin_span(str(traceparent).encode("latin-1", "replace"))
        call = GrpcCall(started + self._seconds_allowed(context), context)
        status = CLIENT_CLOSED_REQUEST
        self._count(1)
        try:
            self._admit(method)
            answer: Message | Problem = await method.answer(_parsed(method.request_type, data), call)
            status = 200
        except asyncio.CancelledError:  # gRPC cancels when the caller does, and at the deadline
            status = 504 if time.monotonic() >= call.deadline else CLIENT_CLOSED_REQUEST
            raise
        except Exception as error:
            answer = _problem(error, method.path)
            status = answer.status_code
        finally:
            self._count(-1)
            seconds = time.monotonic() - started
            self._app.access_log.add(RequestRecord(began, seconds, trace, "gRPC", method.path, method.path, status))
        timing = server_timing(call.timings, seconds)
        context.set_trailing_metadata((("server-timing", timing), ("traceparent", trace.traceparent)))
        if isinstance(answer, Problem):
            await context.abort(STATUS.get(status, grpc.StatusCode.INTERNAL), answer.detail)
        return answer

    def _admit(self, method: Method) -> None:
        if method.limited and self._app.process.requests_in_flight > self._settings.max_concurrent_requests:
            raise Problem(503, "too many requests are in progress: try again")

    def _seconds_allowed(self, context: Context) -> float:
        remaining: float | None = context.time_remaining()
        usual = self._settings.request_timeout_ms / 1e3
        return min(usual if remaining is None else remaining, self._settings.max_request_timeout_ms / 1e3)

    def _count(self, change: int) -> None:
        self.calls_in_flight += change
        self._app.process.requests_in_flight += change


def _parsed(type_: type[Message], data: bytes) -> Message:
    try:
        return type_.FromString(data)
    except DecodeError:
        raise Problem(400, f"expected a {type_.DESCRIPTOR.full_name}, got bytes that are none") from None


def _problem(error: Exception, path: str) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, ClientDisconnect):
        return Problem(CLIENT_CLOSED_REQUEST, "the client disconnected")
    logger.error("%s failed", path, exc_info=error)
    return INTERNAL_ERROR
