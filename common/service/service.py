"""What makes an app a service: probes, metrics, problems, drain, OpenAPI, and the envelope around every request.

A pattern's `create_app` makes a `Service`, adds its endpoints and returns it. It is a FastAPI app in every respect;
an endpoint on the hot path is added by `add_endpoint` and reached by its exact path, before FastAPI's routing.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from common.service.access_log import Account
from common.service.log_format import configure_logging
from common.service.metrics import ServiceMetrics
from common.service.middleware import Envelope
from common.service.openapi import Operation, with_operations
from common.service.problems import MEDIA_TYPE, Problem
from common.service.process_state import State
from common.service.request_context import Endpoint, EndpointRoute, Refusal, problem_document
from common.service.settings import ServiceSettings
from common.service.shutdown import drain_on_sigterm

Check = Callable[[], Awaitable[bool]]
"""Whether something that a service cannot work without answers."""
CHECK_SECONDS = 1.0
"""How long a check may take: probes do not wait long themselves."""


class Service(FastAPI):
    """A FastAPI app with the parts that every service has."""

    def __init__(self, title: str, settings: ServiceSettings) -> None:
        configure_logging(settings.log_level)
        self.settings = settings
        self.metrics = ServiceMetrics()
        self.account = Account(self.metrics, settings.log_level)
        self.process = State()
        self._checks: list[Check] = []
        self._companions: list[Callable[[], AbstractAsyncContextManager[object]]] = []
        self._routes: dict[str, EndpointRoute] = {}
        self._operations: list[tuple[EndpointRoute, Operation]] = []
        self._envelope = Envelope(self._routes, super().__call__, settings, self.process, self.account)
        super().__init__(title=title, lifespan=Service._run, exception_handlers=PROBLEMS)
        self.get("/health/live", summary="Does the process answer?")(self._live)
        self.get("/health/ready", summary="May requests be sent here?")(self._ready)
        self.get("/metrics", summary="Metrics for Prometheus", response_class=Response)(self._metrics)

    def add_endpoint(
        self,
        method: str,
        path: str,
        endpoint: Endpoint,
        operation: Operation,
        refusal: Refusal = problem_document,
    ) -> None:
        """Serve `endpoint` at exactly `path`; `operation` describes it in the OpenAPI document."""
        route = EndpointRoute(method, path, endpoint, refusal)
        self._routes[path] = route
        self._operations.append((route, operation))

    def add_companion(self, companion: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        """Hold this open while the service runs: a client, a pool, another server."""
        self._companions.append(companion)

    def add_check(self, check: Check) -> None:
        """Be ready only while this is true; too late an answer is none."""
        self._checks.append(check)

    async def is_ready(self) -> bool:
        """Whether requests may be sent here."""
        if self.process.draining:
            return False
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return all(await asyncio.gather(*[check() for check in self._checks]))
        except TimeoutError:
            return False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The envelope; in it our endpoints, and for every other path FastAPI."""
        await self._envelope(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """FastAPI's document and the endpoints' own entries."""
        return with_operations(super().openapi(), self._operations)

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        gc.collect()
        gc.freeze()  # what was made at start stays: searching it for garbage again and again made p99 five times longer
        async with AsyncExitStack() as stack:
            for companion in self._companions:
                await stack.enter_async_context(companion())
            with drain_on_sigterm(self.settings.drain_seconds, self.process.drain):
                yield

    async def _live(self) -> dict[str, bool]:
        return {"live": True}

    async def _ready(self, response: Response) -> dict[str, bool]:
        ready = await self.is_ready()
        response.status_code = 200 if ready else 503
        return {"ready": ready}

    async def _metrics(self, request: Request) -> Response:
        text, media_type = self.metrics.render(request.headers.get("accept", ""))
        return Response(text, media_type=media_type)


def once(check: Check) -> Check:
    """A check that, once true, stays so: of what must be there at first, and may fail later."""
    passed = False

    async def passes() -> bool:
        nonlocal passed
        passed = passed or await check()
        return passed

    return passes


async def _problem(_: Request, error: Exception) -> Response:
    """Whatever FastAPI refuses, as a problem document."""
    if isinstance(error, RequestValidationError):
        fields = [
            f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}, got {e['input']!r:.80}" for e in error.errors()
        ]
        problem = Problem(422, "; ".join(fields))
    elif isinstance(error, Problem):
        problem = error
    elif isinstance(error, HTTPException):
        problem = Problem(error.status_code, str(error.detail), dict(error.headers or {}))
    else:
        problem = Problem(500, "the service failed: its log tells more, under this trace id")
    return Response(problem.document(), problem.status_code, problem.headers, MEDIA_TYPE)


PROBLEMS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = dict.fromkeys(
    (HTTPException, RequestValidationError, Exception), _problem
)
