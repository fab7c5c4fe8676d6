"""What happens around every gRPC call: limit, deadline, trace, timing, errors, metrics, log.

It is to gRPC what `common/service/middleware.py` is to HTTP, and the outermost interceptor: calls that a user's
interceptor rejects are logged and counted too. Metrics and log give a call's status as its HTTP equivalent, so that one
alert fits both.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from starlette.requests import ClientDisconnect

from common.service.problems import CLIENT_CLOSED_REQUEST, INTERNAL_ERROR, Problem
from common.service.service import Service
from common.telemetry.access_log import RequestRecord
from common.telemetry.server_timing import server_timing
from common.telemetry.tracing import begin_span

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[[Any, Any], Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    CLIENT_CLOSED_REQUEST: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,  # clients and load balancers may retry elsewhere
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""By the HTTP status of a problem; any other is INTERNAL."""
HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""By the status with which another interceptor ended a call; any other is 500."""


@dataclass(slots=True)
class GrpcCall:
    """One call: its deadline as a `time.monotonic()`, its timings in seconds, further members of its log line."""

    deadline: float
    context: Context
    timings: dict[str, float] = field(default_factory=dict)
    log: dict[str, object] = field(default_factory=dict)

    def client_disconnected(self) -> bool:
        """Whether the client has cancelled the call, or closed the connection."""
        return bool(self.context.cancelled())


current_call: ContextVar[GrpcCall] = ContextVar("current_call")


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the unary methods of one gRPC service.

    The methods in `limited` (full paths) are rejected while too many requests, HTTP and gRPC together, are in progress.
    """

    def __init__(self, app: Service, service: str, limited: Collection[str]) -> None:
        self.calls_in_flight = 0
        self._app = app
        self._settings = app.settings
        self._prefix = f"/{service}/"
        self._limited = limited

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """The method that gRPC found, wrapped; methods of other services (health, reflection) unchanged."""
        handler, path = await continuation(handler_call_details), handler_call_details.method
        if handler is None or handler.unary_unary is None or not path.startswith(self._prefix):
            return handler
        method: Method = handler.unary_unary  # the stubs give it the context of the threaded server

        async def handle(request: Any, context: Context) -> Message:
            return await self._handle(method, path, request, context)

        return grpc.unary_unary_rpc_method_handler(handle, handler.request_deserializer, handler.response_serializer)

    async def _handle(self, method: Method, path: str, request: Any, context: Context) -> Message:
        began, started = time.time(), time.monotonic()
        traceparent = dict(context.invocation_metadata() or ()).get("traceparent", "")
        trace = begin_span(str(traceparent).encode("latin-1", "replace"))
        call = GrpcCall(started + self._seconds_allowed(context), context)
        current_call.set(call)
        status = CLIENT_CLOSED_REQUEST
        self._count(1)
        try:
            self._admit(path)
            answer: Message | Problem = await method(request, context)
            status = 200
        except asyncio.CancelledError:  # gRPC cancels when the client does, and at the deadline
            status = 504 if time.monotonic() >= call.deadline else CLIENT_CLOSED_REQUEST
            raise
        except grpc.aio.AbortError:  # another interceptor has ended the call
            status = _http_status(context)
            raise
        except Exception as error:
            answer = _to_problem(error, path)
            status = answer.status_code
        finally:
            self._count(-1)
            seconds = time.monotonic() - started
            self._app.access_log.add(RequestRecord(began, seconds, trace, "gRPC", path, path, status, call.log))
        timing = server_timing(call.timings, seconds)
        context.set_trailing_metadata((("server-timing", timing), ("traceparent", trace.traceparent)))
        if isinstance(answer, Problem):
            await context.abort(STATUS.get(status, grpc.StatusCode.INTERNAL), answer.detail)
        return answer

    def _admit(self, path: str) -> None:
        too_many = self._app.process.requests_in_flight > self._settings.max_concurrent_requests
        if too_many and path in self._limited:
            raise Problem(503, "too many requests are in progress: try again")

    def _seconds_allowed(self, context: Context) -> float:
        remaining: float | None = context.time_remaining()
        usual = self._settings.request_timeout_ms / 1e3
        return min(usual if remaining is None else remaining, self._settings.max_request_timeout_ms / 1e3)

    def _count(self, change: int) -> None:
        self.calls_in_flight += change
        self._app.process.requests_in_flight += change


def method_handler(
    method: Callable[[Any, GrpcCall], Awaitable[Message]], request_type: type[Message], max_bytes: int
) -> Handler:
    """A handler for `method(request, call)`; raises `Problem` 400 (no such message) or 413 (more than `max_bytes`)."""

    def parse(data: bytes) -> Message | Problem:
        if len(data) > max_bytes:
            return Problem(413, f"expected a message of at most {max_bytes} bytes (MAX_BODY_BYTES), got {len(data)}")
        try:
            return request_type.FromString(data)
        except DecodeError:  # raised here, gRPC would answer UNKNOWN
            return Problem(400, f"expected a {request_type.DESCRIPTOR.full_name}, got bytes that are none")

    async def handle(request: Message | Problem, context: Context) -> Message:
        if isinstance(request, Problem):
            raise request
        return await method(request, current_call.get())

    return grpc.unary_unary_rpc_method_handler(handle, parse, lambda message: message.SerializeToString())


def _http_status(context: Context) -> int:
    code: Any = context.code()  # the number; the stubs say the member
    return next((status for member, status in HTTP_STATUS.items() if code in (member, member.value[0])), 500)


def _to_problem(error: Exception, path: str) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, ClientDisconnect):
        return Problem(CLIENT_CLOSED_REQUEST, "the client has disconnected")
    logger.error("%s failed", path, exc_info=error)
    return INTERNAL_ERROR
