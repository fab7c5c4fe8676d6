"""What happens around every request, once and outermost: limits, deadline, trace, timing, errors, metrics, log.

An endpoint of the hot path is found here by its exact path; every other request goes on to FastAPI, and its answer
gets the same headers and the same account.
"""

import logging
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from common.service.access_log import Account, Finished
from common.service.problems import ClientLeft, Problem
from common.service.process_state import State
from common.service.request_context import Call, EndpointRoute, problem_document
from common.service.response_sender import CLIENT_LEFT, Answer
from common.service.settings import ServiceSettings
from common.service.tracing import begin_span

logger = logging.getLogger(__name__)

NOT_LIMITED = ("/health/", "/v2/health/", "/metrics")
"""Who looks how a busy service is doing must not be turned away."""
FAILED = Problem(500, "the service failed: its log tells more, under this trace id")

UNMATCHED = "unmatched"
"""The route of a path that is not declared: what callers type would make a time series for each typing error."""


class Envelope:
    """The outermost ASGI application of a service."""

    def __init__(
        self,
        routes: Mapping[str, EndpointRoute],
        fastapi: ASGIApp,
        settings: ServiceSettings,
        state: State,
        account: Account,
    ) -> None:
        self._routes = routes
        self._fastapi = fastapi
        self._settings = settings
        self._state = state
        self._account = account

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; pass on what is none (lifespan)."""
        if scope["type"] != "http":
            await self._fastapi(scope, receive, send)
            return
        began, started = time.time(), time.monotonic()
        headers = dict(scope["headers"])
        trace = begin_span(headers.get(b"traceparent"))
        limit, query = self._settings.max_body_bytes, scope["query_string"]
        call = Call(scope["method"], scope["path"], headers, started, receive, limit, query)
        route = self._routes.get(call.path)
        refusal = route.refusal if route else problem_document
        answer = Answer(send, call.timings, trace, started, self._state)
        counts = not call.path.startswith(NOT_LIMITED)
        self._state.requests_in_flight += counts
        try:
            if counts and self._state.requests_in_flight > self._settings.max_concurrent_requests:
                raise Problem(503, "too many requests are in progress: try again", {"Retry-After": "1"})
            call.deadline += self._seconds_allowed(headers.get(b"x-request-timeout-ms"))
            if route:
                await answer.reply(await route.reply(call))
            else:
                scope["call"] = call
                await self._fastapi(scope, receive, answer.pass_on)
        except ClientLeft:
            answer.status = CLIENT_LEFT
        except Problem as problem:
            await answer.refuse(refusal(problem))
        except Exception:
            logger.exception("%s %s failed", call.method, call.path)
            await answer.refuse(refusal(FAILED))
        finally:
            self._state.requests_in_flight -= counts
            seconds = time.monotonic() - started
            declared = route or scope.get("route")
            path = declared.path if declared else UNMATCHED
            self._account.note(Finished(began, seconds, trace, call.method, call.path, path, answer.status, call.log))

    def _seconds_allowed(self, timeout_ms: bytes | None) -> float:
        if timeout_ms is None:
            return self._settings.request_timeout_ms / 1e3
        if not timeout_ms.isdigit() or len(timeout_ms) > 18 or not (milliseconds := int(timeout_ms)):
            got = timeout_ms.decode("latin-1")
            expected = "expected whole milliseconds above 0 such as 2000"
            raise Problem(400, f"X-Request-Timeout-Ms: {expected}, got {got!r:.40}")
        return min(milliseconds, self._settings.max_request_timeout_ms) / 1e3
