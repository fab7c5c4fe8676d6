"""What happens around every gRPC request, a call of its own or one of a stream: limit, deadline, trace, metrics, log.

It is to gRPC what `common/service/middleware.py` is to HTTP. Metrics and log give a request's status as its HTTP
equivalent, so that one alert fits both. Whatever a method raises becomes a `Problem`; a cancelled request is counted
as 499, or as 504 once its deadline has passed.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message
from starlette.requests import ClientDisconnect

from common.open_inference.grpc.status import http_status
from common.service.problems import CLIENT_CLOSED_REQUEST, INTERNAL_ERROR, Problem, cut_traceback
from common.service.service import Service
from common.telemetry.access_log import RequestRecord
from common.telemetry.server_timing import server_timing
from common.telemetry.tracing import Trace, begin_span

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[[Any, Any], Any]
"""A coroutine function of a request and its context."""


@dataclass(slots=True)
class GrpcCall:
    """One request: its deadline as a `time.monotonic()`, its timings in seconds, further members of its log line."""

    deadline: float
    context: Context
    timings: dict[str, float] = field(default_factory=dict)
    log: dict[str, object] = field(default_factory=dict)

    def client_disconnected(self) -> bool:
        """Whether the client has cancelled the call, or closed the connection."""
        return bool(self.context.cancelled())


current_call: ContextVar[GrpcCall] = ContextVar("current_call")


class Answered(NamedTuple):
    """What a request gets: a message or the problem in its place, and the metadata that belongs to it."""

    answer: Message | Problem
    metadata: tuple[tuple[str, str | bytes], ...]


class RequestRunner:
    """Runs the requests of one service.

    Those to the methods in `limited` (full paths) are rejected while too many requests, HTTP and gRPC together, are in
    progress. `in_flight` counts requests that run and streams that are open.
    """

    def __init__(self, app: Service, limited: Collection[str]) -> None:
        self.in_flight = 0
        self._app = app
        self._settings = app.settings
        self._limited = limited

    async def run(self, method: Method, path: str, request: Any, context: Context) -> Answered:
        """Call `method`. Raises CancelledError, and grpc.aio.AbortError if a user's interceptor has ended the call."""
        began, started = time.time(), time.monotonic()
        trace = trace_of(context)
        call = GrpcCall(started + self._seconds_allowed(context), context)
        current_call.set(call)
        status = CLIENT_CLOSED_REQUEST
        self._count(1)
        try:
            self._admit(path)
            answer: Message | Problem = await method(request, context)
            code: Any = context.code()  # a number, 0 where no interceptor has set one
            status = http_status(context) if code else 200
        except asyncio.CancelledError:  # gRPC cancels when the client does, and at the deadline
            status = 504 if time.monotonic() >= call.deadline else CLIENT_CLOSED_REQUEST
            raise
        except grpc.aio.AbortError:
            status = http_status(context)
            raise
        except Exception as error:
            answer = to_problem(error, path)
            status = answer.status_code
            cut_traceback(error)
        finally:
            self._count(-1)
            seconds = time.monotonic() - started
            self._app.access_log.add(RequestRecord(began, seconds, trace, "gRPC", path, path, status, call.log))
        timing = server_timing(call.timings, seconds)
        return Answered(answer, (("server-timing", timing), ("traceparent", trace.traceparent)))

    def record_stream(self, path: str, began: float, status: int, context: Context) -> None:
        """Count and log a stream that ended with an error of its own, not of one of its requests."""
        record = RequestRecord(began, time.time() - began, trace_of(context), "gRPC", path, path, status)
        self._app.access_log.add(record)

    def _admit(self, path: str) -> None:
        too_many = self._app.process.requests_in_flight > self._settings.max_concurrent_requests
        if too_many and path in self._limited:
            raise Problem(503, "too many requests are in progress: try again")

    def _seconds_allowed(self, context: Context) -> float:
        remaining: float | None = context.time_remaining()
        usual = self._settings.request_timeout_ms / 1e3
        return min(usual if remaining is None else remaining, self._settings.max_request_timeout_ms / 1e3)

    def _count(self, change: int) -> None:
        self.in_flight += change
        self._app.process.requests_in_flight += change


def trace_of(context: Context) -> Trace:
    """A span in the trace that the call's metadata names, or in a new one."""
    traceparent = dict(context.invocation_metadata() or ()).get("traceparent", "")
    return begin_span(str(traceparent).encode("latin-1", "replace"))


def to_problem(error: Exception, path: str) -> Problem:
    """The problem that the client gets; an error that is not one already is logged with its traceback."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ClientDisconnect):
        return Problem(CLIENT_CLOSED_REQUEST, "the client has disconnected")
    logger.error("%s failed", path, exc_info=error)
    return INTERNAL_ERROR
