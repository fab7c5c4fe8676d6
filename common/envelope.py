"""What happens around every request, once and outermost: limits, deadline, trace, timing, errors, metrics, log."""

import logging
import time
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.call import Call, Reply
from common.errors import MEDIA_TYPE, ClientLeft, Problem
from common.logs import RequestLog
from common.metrics import ServiceMetrics
from common.settings import ServiceSettings
from common.trace import begin_span

logger = logging.getLogger(__name__)

CLIENT_LEFT = 499
"""What nginx calls a request whose caller did not wait; nobody gets to see it but the log and the metrics."""
ALWAYS_ADMITTED = ("/health/", "/metrics")
"""Who looks how a busy service is doing must not be turned away."""


@dataclass(slots=True)
class State:
    """What the process is doing now."""

    draining: bool = False
    requests_in_flight: int = 0

    def drain(self) -> None:
        """Be ready no more."""
        self.draining = True


class Envelope:
    """The outermost ASGI application of a service; `app` answers, or raises a `Problem`."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, state: State, metrics: ServiceMetrics) -> None:
        self._app = app
        self._settings = settings
        self._state = state
        self._metrics = metrics
        self._log = RequestLog(settings.log_level)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; pass on what is none (lifespan)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, started, status = time.time(), time.monotonic(), CLIENT_LEFT
        headers = dict(scope["headers"])
        trace = begin_span(headers.get(b"traceparent"))
        call = scope["call"] = Call(scope["method"], scope["path"], headers, started, receive, self._settings.max_body_bytes)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                timing = _server_timing(call.timings, time.monotonic() - started)
                message["headers"] += [(b"server-timing", timing), (b"traceparent", trace.traceparent.encode())]
                if self._state.draining:  # no client shall reuse a connection that is about to close
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        self._state.requests_in_flight += 1
        try:
            self._admit(call)
            call.deadline += self._seconds_allowed(headers.get(b"x-request-timeout-ms"))
            await self._app(scope, receive, answer)
        except ClientLeft:
            pass
        except Problem as problem:
            await _reply(problem).send(answer)
        except Exception:
            logger.exception("%s %s failed", call.method, call.path)
            if status == CLIENT_LEFT:
                await _reply(Problem(500, "the service failed: its log tells more, under this trace id")).send(answer)
        finally:
            self._state.requests_in_flight -= 1
            seconds = time.monotonic() - started
            self._metrics.request(call.method, _route(scope), status, seconds)
            self._log.write(began, call.method, call.path, status, seconds)

    def _admit(self, call: Call) -> None:
        busy = self._state.requests_in_flight > self._settings.max_concurrent_requests
        if busy and not call.path.startswith(ALWAYS_ADMITTED):
            raise Problem(503, "too many requests are in progress: try again", {"Retry-After": "1"})

    def _seconds_allowed(self, timeout_ms: bytes | None) -> float:
        if timeout_ms is None:
            return self._settings.request_timeout_ms / 1e3
        if not timeout_ms.isdigit() or not (milliseconds := int(timeout_ms)):
            got = timeout_ms.decode("latin-1")
            raise Problem(400, f"X-Request-Timeout-Ms: expected whole milliseconds above 0 such as 2000, got {got!r}")
        return min(milliseconds, self._settings.max_request_timeout_ms) / 1e3


def _reply(problem: Problem) -> Reply:
    return Reply(problem.document(), problem.status_code, MEDIA_TYPE, problem.headers or {})


def _server_timing(timings: dict[str, float], total: float) -> bytes:
    """Seconds by name as a Server-Timing header, which counts in milliseconds (W3C Server Timing)."""
    timings["total"] = total
    return ", ".join([f"{name};dur={seconds * 1e3:.3f}" for name, seconds in timings.items()]).encode()


def _route(scope: Scope) -> str:
    """The path as it was declared: what callers type would make a time series for each typing error."""
    route = scope.get("route")
    return route.path if route else "unmatched"
