"""A service is a FastAPI app: a user's middleware stands before every pattern's hot path."""

import json
import sys
from collections.abc import Awaitable, Callable

import pytest
from fastapi import HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.patterns.hot_paths import HOT_PATHS, HotPath, passed
from tests.support.processes import output_of

KEY = {"X-API-Key": "secret"}
CallNext = Callable[[Request], Awaitable[Response]]


def test_a_users_middleware_guards_the_hot_path(hot_path: HotPath) -> None:
    app, path, body = hot_path

    @app.middleware("http")
    async def require_key(request: Request, call_next: CallNext) -> Response:
        if request.headers.get("x-api-key") != "secret":
            return JSONResponse({"detail": "X-API-Key: expected a valid key"}, 401)
        return await call_next(request)

    with TestClient(app) as client:
        assert client.post(path, json=body).status_code == 401
        assert client.get("/docs").status_code == 401
        assert passed(client.post(path, json=body, headers=KEY))


class RequireKey:
    """A middleware in plain ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"x-api-key") != b"secret":
            raise HTTPException(401, "X-API-Key: expected a valid key")
        await self.app(scope, receive, send)


@pytest.mark.parametrize("how", ["appended", "set", "cleared and added"])
def test_a_middleware_guards_the_hot_path_however_it_came_into_the_list(hot_path: HotPath, how: str) -> None:
    """And what it raises is answered once: the connection goes on."""
    app, path, body = hot_path
    if how == "appended":
        app.user_middleware.append(Middleware(RequireKey))
    elif how == "set":
        app.user_middleware = [Middleware(RequireKey)]
    else:
        app.user_middleware.clear()
        app.add_middleware(RequireKey)
    with TestClient(app) as client:
        assert client.post(path, json=body).status_code == 401
        assert client.get("/docs").status_code == 401
        assert passed(client.post(path, json=body, headers=KEY))


def test_opentelemetry_sees_the_hot_path(hot_path: HotPath) -> None:
    app, path, body = hot_path
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
    with TestClient(app) as client:
        assert passed(client.post(path, json=body))
    assert path in {(span.attributes or {}).get("http.route") for span in spans.get_finished_spans()}


def test_a_tool_that_puts_a_middleware_stack_of_its_own_in_place_sees_every_request(hot_path: HotPath) -> None:
    app, path, body = hot_path
    build, seen = app.build_middleware_stack, []

    def wrap() -> ASGIApp:
        stack = build()

        async def watch(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope.get("path"))
            await stack(scope, receive, send)

        return watch

    app.build_middleware_stack = wrap  # type: ignore[method-assign]
    with TestClient(app) as client:
        assert passed(client.post(path, json=body))
    assert path in seen


def test_sentry_sees_the_hot_path_of_every_pattern_and_the_request_of_an_error() -> None:
    """In a process of its own: it patches Starlette for good."""
    output = output_of(sys.executable, "-m", "tests.support.tracing.sentry")
    seen = json.loads(next(line for line in output.splitlines() if line.startswith('{"transactions"')))
    assert {path for _, path, _ in HOT_PATHS.values()} <= {*seen["transactions"]}
    assert seen["errors"].count("/fails") == len(HOT_PATHS)


def test_a_middleware_sees_head_as_the_client_sent_it(hot_path: HotPath) -> None:
    app, _, _ = hot_path
    methods = []

    @app.middleware("http")
    async def watch(request: Request, call_next: CallNext) -> Response:
        methods.append(request.method)
        response = await call_next(request)
        methods.append(request.method)
        return response

    with TestClient(app) as client:
        assert client.head("/health/live").status_code == 200
    assert methods == ["HEAD", "HEAD"]


def test_cors_middleware_answers_preflights_and_adds_its_headers(hot_path: HotPath) -> None:
    app, path, body = hot_path
    app.add_middleware(CORSMiddleware, allow_origins=["https://example.com"], allow_methods=["POST"])
    origin = {"Origin": "https://example.com"}
    with TestClient(app) as client:
        preflight = client.options(path, headers={**origin, "Access-Control-Request-Method": "POST"})
        assert (preflight.status_code, preflight.headers["access-control-allow-methods"]) == (200, "POST")
        answer = client.post(path, json=body, headers=origin)
        assert passed(answer)
        assert answer.headers["access-control-allow-origin"] == "https://example.com"


def test_a_refusal_before_the_endpoint_has_the_headers_of_a_users_middleware_and_reaches_its_handlers(
    hot_path: HotPath,
) -> None:
    """Else a browser could not read why."""
    app, path, body = hot_path
    app.add_middleware(CORSMiddleware, allow_origins=["https://example.com"], allow_methods=["POST"])
    wrong = {"Origin": "https://example.com", "X-Request-Timeout-Ms": "soon"}
    with TestClient(app) as client:
        answer = client.post(path, json=body, headers=wrong)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (400, "https://example.com")
        assert "X-Request-Timeout-Ms" in answer.text
    app.add_exception_handler(HTTPException, lambda request, error: Response(status_code=418))
    app.middleware_stack = None
    with TestClient(app) as client:
        assert client.post(path, json=body, headers=wrong).status_code == 418


def test_a_service_inside_a_middleware_of_starlettes_answers(hot_path: HotPath) -> None:
    """As `BaseHTTPMiddleware(create_app(), …)`, whose `receive` owns a task group and must not be driven by hand."""
    app, path, body = hot_path

    async def add_header(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        response.headers["X-Outer"] = "yes"
        return response

    with TestClient(BaseHTTPMiddleware(app, add_header)) as client:
        answer = client.post(path, json=body)
        assert passed(answer), answer.text
        assert answer.headers["x-outer"] == "yes"
