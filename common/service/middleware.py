"""What happens around every request, once and outermost: limits, deadline, trace, timing, metrics, log.

It is plain ASGI, around FastAPI's own stack: the user's middleware, exception handlers and routing are inside.
"""

import time
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.service.lean_route import FAILURE
from common.service.problems import CLIENT_CLOSED_REQUEST, Problem, cut_traceback, render_problem, to_problem
from common.service.process.shutdown import ProcessState
from common.service.process.startup import without_traceback
from common.service.request_context import RequestContext, pollable
from common.service.root_path import local_path, remove_second_prefix
from common.service.route_templates import RouteTemplates
from common.telemetry.access_log import RequestRecord
from common.telemetry.server_timing import server_timing
from common.telemetry.tracing import Trace, begin_span

if TYPE_CHECKING:
    from common.service.service import Service

NOT_LIMITED = ("/health/", "/v2/health/", "/metrics")
"""Health and metrics requests are never rejected for overload."""


class RequestMiddleware:
    """The outermost ASGI application of a service."""

    def __init__(self, app: ASGIApp, service: "Service") -> None:
        self._app = app
        self._settings = service.settings
        self._state = service.process
        self._access_log = service.access_log
        self._templates = RouteTemplates(service.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; everything else (lifespan, WebSocket) passes."""
        if scope["type"] != "http":
            await self._app(scope, receive, without_traceback(send) if scope["type"] == "lifespan" else send)
            return
        began, started = time.time(), time.monotonic()
        remove_second_prefix(scope)
        method, path = scope["method"], scope["path"]
        headers = dict(scope["headers"])
        trace = begin_span(headers.get(b"traceparent"))
        context = RequestContext(started, self._settings.max_body_bytes, pollable(receive))
        scope.setdefault("state", {})["request_context"] = context
        sender = ResponseSender(send, context, trace, started, self._state)
        counts = not local_path(scope).startswith(NOT_LIMITED)
        self._state.requests_in_flight += counts
        try:
            try:
                if counts and self._state.requests_in_flight > self._settings.max_concurrent_requests:
                    raise Problem(503, "too many requests are in progress: try again", {"Retry-After": "1"})
                context.deadline += self._timeout_seconds(headers.get(b"x-request-timeout-ms"))
            except Problem as problem:
                scope[FAILURE] = problem.with_traceback(None), False  # the frame there holds the scope
            await self._app(scope, receive, sender.send)
            if context.disconnected or not sender.complete:  # a stream that the client did not read to its end
                sender.status = CLIENT_CLOSED_REQUEST
        except HTTPException as error:  # ours, or that of a middleware, which Starlette's stack has answered already
            if not sender.started:
                request = Request(scope)
                await render_problem(request, to_problem(request, error))(scope, receive, sender.send)
            cut_traceback(error)
        finally:
            self._state.requests_in_flight -= counts
            context.receive = None  # it holds the scope, which holds the context: the collector would have to free them
            seconds = time.monotonic() - started
            route = self._templates.of(scope)
            self._access_log.add(RequestRecord(began, seconds, trace, method, path, route, sender.status, context.log))

    def _timeout_seconds(self, timeout_ms: bytes | None) -> float:
        if timeout_ms is None:
            return self._settings.request_timeout_ms / 1e3
        if not timeout_ms.isdigit() or len(timeout_ms) > 18 or not (milliseconds := int(timeout_ms)):
            sent = timeout_ms.decode("latin-1")
            expected = "expected whole milliseconds above 0 such as 2000"
            raise Problem(400, f"X-Request-Timeout-Ms: {expected}, got {sent!r:.40}")
        return min(milliseconds, self._settings.max_request_timeout_ms) / 1e3


class ResponseSender:
    """Adds its timing and its trace to a response; `status` is what was sent, or 499 while nothing was."""

    __slots__ = ("_context", "_send", "_started", "_state", "_trace", "complete", "started", "status")

    def __init__(self, send: Send, context: RequestContext, trace: Trace, started: float, state: ProcessState) -> None:
        self.status = CLIENT_CLOSED_REQUEST
        self.started = self.complete = False
        self._send = send
        self._context = context
        self._trace = trace
        self._started = started
        self._state = state

    def send(self, message: Message) -> Awaitable[None]:
        """The ASGI `send` for everything inside."""
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            message["headers"] = [*message["headers"], *self._headers()]
        elif message["type"] == "http.response.body":
            self.complete = not message.get("more_body", False)
        return self._send(message)

    def _headers(self) -> Sequence[tuple[bytes, bytes]]:
        timing = server_timing(self._context.timings, time.monotonic() - self._started)
        headers = [(b"server-timing", timing), (b"traceparent", self._trace.traceparent.encode())]
        if self._state.draining:  # a client must not reuse a connection that is about to close
            headers.append((b"connection", b"close"))
        return headers
