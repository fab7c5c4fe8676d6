"""What makes a FastAPI app a service: probes, metrics, problems, graceful shutdown, and the request middleware.

A pattern's `create_app` makes a `Service`, includes its routers and returns it. It is a FastAPI app in every respect:
middleware, dependencies, exception handlers and `TestClient` work as on any other.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from common.service.lean_route import LeanRouting
from common.service.middleware import RequestMiddleware
from common.service.offline_docs import add_docs
from common.service.problems import PROBLEM_HANDLERS, ProblemRenderer
from common.service.process.shutdown import ProcessState, drain_on_sigterm
from common.service.settings import ServiceSettings
from common.telemetry.access_log import AccessLog
from common.telemetry.log_format import configure_logging, reconfigure_uvicorn
from common.telemetry.metrics import ServiceMetrics

logger = logging.getLogger(__name__)
Check = Callable[[], Awaitable[bool]]
"""Whether something works that the service needs."""
DEFAULTS: dict[str, Any] = {
    "redoc_url": None,
    "telemetry": {"tracing": False, "metrics": False, "logs": False},  # the request middleware does this
}
"""Of FastAPI's own parameters, where they differ from FastAPI's."""
CHECK_SECONDS = 1.0
"""How long a check may take: probes have short timeouts themselves."""


class Service(FastAPI):
    """A FastAPI app with the parts that every service has.

    `fastapi` are further parameters of FastAPI's own, such as `dependencies`. A `lifespan` of one's own runs within
    the service's.
    `problem_renderers` maps a path prefix to the form in which its clients expect errors; elsewhere it is RFC 9457.
    """

    def __init__(
        self, title: str, settings: ServiceSettings, lifespan: Lifespan[Any] | None = None, **fastapi: Any
    ) -> None:
        configure_logging(settings.log_level, settings.log_format, title)
        handlers, docs_url = fastapi.pop("exception_handlers", None) or {}, fastapi.pop("docs_url", "/docs")
        super().__init__(
            title=title,
            lifespan=_lifespan,
            exception_handlers={**PROBLEM_HANDLERS, **handlers},
            docs_url=None,  # FastAPI's page loads its files from the internet
            **DEFAULTS | fastapi,
        )
        if lifespan:
            self.include_router(APIRouter(lifespan=lifespan))  # FastAPI runs a router's within the app's
        self._own_stack: ASGIApp | None = None
        self.settings = settings
        self.metrics = ServiceMetrics()
        self.access_log = AccessLog(self.metrics, settings.log_level, settings.log_format, title)
        self.process = ProcessState()
        self.metrics.in_flight.set_function(lambda: self.process.requests_in_flight)
        self.problem_renderers: dict[str, ProblemRenderer] = {}
        self.lifespan_resources: list[Callable[[], AbstractAsyncContextManager[object]]] = []
        self._checks: list[Check] = []
        if docs_url and self.openapi_url:
            add_docs(self, docs_url)
        self.get("/health/live", summary="Does the process answer?")(self._live)
        self.get("/health/ready", summary="May requests be sent here?")(self._ready)
        self.get("/metrics", summary="Metrics for Prometheus", response_class=Response)(self._metrics)

    def add_lifespan(self, resource: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        """Hold this open while the service runs: a client, a pool, another server."""
        self.lifespan_resources.append(resource)

    def add_check(self, check: Check) -> None:
        """Be ready only while this is true; an answer that comes too late counts as false."""
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
        """As FastAPI's, within the request middleware."""
        if not isinstance(self.middleware_stack, RequestMiddleware):  # not built yet, or a tool has put another there
            inner = self.middleware_stack or self.build_middleware_stack()
            is_bare = inner is self._own_stack and not self.user_middleware
            stack = LeanRouting(inner, self, is_outermost=True) if is_bare else inner
            self.middleware_stack = RequestMiddleware(stack, self)
        await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """FastAPI's stack, with `LeanRouting` innermost: behind the user's middleware, wherever it was added."""
        users = self.user_middleware
        self.user_middleware = [*users, Middleware(LeanRouting, fastapi_app=self)]
        try:
            self._own_stack = super().build_middleware_stack()
            return self._own_stack
        finally:
            self.user_middleware = users

    async def _live(self) -> dict[str, bool]:
        return {"live": True}

    async def _ready(self, response: Response) -> dict[str, bool]:
        ready = await self.is_ready()
        response.status_code = 200 if ready else 503
        return {"ready": ready}

    async def _metrics(self, request: Request) -> Response:
        text, media_type = self.metrics.render(request.headers.get("accept", ""))
        return Response(text, media_type=media_type)


@asynccontextmanager
async def _lifespan(app: Service) -> AsyncIterator[None]:
    reconfigure_uvicorn()
    for sentence in app.settings.find_mistyped():
        logger.warning(sentence)
    gc.collect()
    gc.set_threshold(10_000)  # requests leave little garbage for it: 700, the default, costs some 2 % of the CPU
    gc.freeze()  # objects made at start stay: searching them for garbage again and again made p99 five times longer
    async with AsyncExitStack() as stack:
        for resource in app.lifespan_resources:
            await stack.enter_async_context(resource())
        with drain_on_sigterm(app.settings.drain_seconds, app.process.drain):
            yield


def until_first_success(check: Check) -> Check:
    """A check that stays true once it was true: for what must be there at first, and may fail later."""
    succeeded = False

    async def passes() -> bool:
        nonlocal succeeded
        succeeded = succeeded or await check()
        return succeeded

    return passes
