"""A service is a FastAPI app: what a FastAPI user adds to it works on every pattern's hot path."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from pydantic import SecretStr
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from asynchronous import proxy as asynchronous
from asynchronous.settings import ProxySettings as AsynchronousSettings
from microservice_horizontal import proxy as microservice_horizontal
from microservice_vertical import proxy as microservice_vertical
from synchronous import proxy as synchronous
from tests.support.samples import SEVEN_PIXELS
from web_single import predictor as web_single
from web_single.settings import Settings as WebSingleSettings

NOWHERE = SecretStr("redis://127.0.0.1:1/0")
INFER = {"inputs": [{"name": "features", "shape": [1, 64], "datatype": "FP32", "data": SEVEN_PIXELS}]}
DIGIT = {"pixels": SEVEN_PIXELS}
KEY = {"X-API-Key": "secret"}
CallNext = Callable[[Request], Awaitable[Response]]

HOT_PATHS: dict[str, tuple[Callable[[], FastAPI], str, object]] = {
    "web_single": (lambda: web_single.create_app(WebSingleSettings(grpc_port=0)), "/predict", DIGIT),
    "open_inference": (lambda: web_single.create_app(WebSingleSettings(grpc_port=0)), "/v2/models/mlp/infer", INFER),
    "synchronous": (synchronous.create_app, "/letters", DIGIT),
    "asynchronous": (lambda: asynchronous.create_app(AsynchronousSettings(redis_url=NOWHERE)), "/jobs", DIGIT),
    "microservice_vertical": (microservice_vertical.create_app, "/predict", DIGIT),
    "microservice_horizontal": (microservice_horizontal.create_app, "/predict", DIGIT),
}
"""By pattern: its app, the path that serves predictions, and a body. Backends and Redis are not there: an answer that
passed what a test adds is a 200, or a 5xx that names what is missing.
"""


@pytest.fixture(params=HOT_PATHS)
def hot_path(request: pytest.FixtureRequest) -> tuple[FastAPI, str, object]:
    create_app, path, body = HOT_PATHS[request.param]
    return create_app(), path, body


def passed(response: httpx2.Response) -> bool:
    return response.status_code in (200, 202, 502, 503, 504)


def test_a_users_middleware_guards_the_hot_path(hot_path: tuple[FastAPI, str, object]) -> None:
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
def test_a_middleware_guards_the_hot_path_however_it_came_into_the_list(
    hot_path: tuple[FastAPI, str, object], how: str
) -> None:
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


def test_a_tool_that_wraps_the_middleware_stack_finds_the_one_of_starlette_and_sees_every_request(
    hot_path: tuple[FastAPI, str, object],
) -> None:
    """As OpenTelemetry's instrumentation does."""
    app, path, body = hot_path
    build, seen = app.build_middleware_stack, []

    def wrap() -> ASGIApp:
        stack = build()
        assert isinstance(stack, ServerErrorMiddleware)

        async def watch(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope.get("path"))
            await stack(scope, receive, send)

        return watch

    app.build_middleware_stack = wrap  # type: ignore[method-assign]
    with TestClient(app) as client:
        assert passed(client.post(path, json=body))
    assert path in seen


def test_a_middleware_sees_head_as_the_client_sent_it(hot_path: tuple[FastAPI, str, object]) -> None:
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


@pytest.mark.parametrize(
    "errors",
    [
        [{"type": "value_error", "loc": (), "msg": "Value error, too late", "input": 1}],
        [{"type": "missing", "loc": ("body", "x"), "msg": "too late"}],
        [{"type": "json_invalid", "loc": ("body", 3), "msg": "too late", "input": {}}],
        [{"loc": ("body",), "msg": "too late", "input": float("nan")}],
        ["too late"],
    ],
)
def test_a_validation_error_that_a_user_raises_is_a_422_whatever_its_errors_hold(
    hot_path: tuple[FastAPI, str, object], errors: list[object]
) -> None:
    app, path, _ = hot_path

    @app.post(f"{path}/own/place")
    async def fail() -> None:
        raise RequestValidationError(errors)

    with TestClient(app) as client:
        answer = client.post(f"{path}/own/place")
        assert (answer.status_code, "too late" in answer.text) == (422, True)


def test_a_mounted_app_that_fails_raises_its_own_error(hot_path: tuple[FastAPI, str, object]) -> None:
    app, _, _ = hot_path
    mounted = FastAPI()

    @mounted.get("/fails")
    async def fail() -> None:
        raise LookupError("of the mounted app")

    app.mount("/sub", mounted)
    with TestClient(app) as client, pytest.raises(LookupError, match="of the mounted app"):
        client.get("/sub/fails")


def test_cors_middleware_answers_preflights_and_adds_its_headers(hot_path: tuple[FastAPI, str, object]) -> None:
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
    hot_path: tuple[FastAPI, str, object],
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


def test_a_users_exception_handler_replaces_ours(hot_path: tuple[FastAPI, str, object]) -> None:
    app, path, _ = hot_path

    @app.exception_handler(HTTPException)
    async def handle(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"mine": error.status_code}, error.status_code)

    with TestClient(app) as client:
        answer = client.post(path, content=b"not JSON", headers={"Content-Type": "application/json"})
        assert (answer.status_code, "mine" in answer.json()) == (answer.json()["mine"], True)


@pytest.mark.parametrize(
    ("status", "detail", "shown"),
    [
        (403, "no entry", "no entry"),
        (409, {"code": 7, "taken": [1]}, {"code": 7, "taken": [1]}),
        (404, "no such customer", "no such customer"),
        (460, "a status of the house", "a status of the house"),
        (304, None, None),
    ],
)
def test_an_http_exception_is_answered_with_what_it_holds(
    hot_path: tuple[FastAPI, str, object], status: int, detail: object, shown: object
) -> None:
    """Raised here by an endpoint beside the hot path."""
    app, path, _ = hot_path

    @app.post(f"{path}/own/place")
    async def fail() -> None:
        raise HTTPException(status, detail, {"X-Why": "closed"})

    with TestClient(app) as client:
        answer = client.post(f"{path}/own/place")
    assert (answer.status_code, answer.headers["x-why"]) == (status, "closed")
    if shown is None:
        assert answer.content == b""
    elif "/v2/" in path:  # there, an error is a string
        assert answer.json() == {"error": shown if isinstance(shown, str) else json.dumps(shown, separators=(",", ":"))}
    else:
        assert answer.json()["detail"] == shown


def test_test_client_answers_without_the_lifespan_and_after_a_restart(hot_path: tuple[FastAPI, str, object]) -> None:
    app, path, body = hot_path
    if app.title == "web_single":  # a proxy's client of other services lives in the lifespan
        client = TestClient(app)
        for _ in range(2):
            assert passed(client.post(path, json=body))
    for _ in range(2 if app.title == "web_single" else 1):
        with TestClient(app) as client:
            assert client.get("/health/live").json() == {"live": True}
            assert passed(client.post(path, json=body))


def test_wrong_method_is_answered_with_the_methods_of_all_endpoints_at_the_path(
    hot_path: tuple[FastAPI, str, object],
) -> None:
    """Each endpoint is a route of its own; Starlette would name the methods of the first."""
    app, path, _ = hot_path
    app.get(path)(lambda: "found")
    app.delete(path)(lambda: "gone")
    with TestClient(app) as client:
        answer = client.patch(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, POST")
        assert client.head(path).status_code == 200


def test_every_get_answers_head_too(hot_path: tuple[FastAPI, str, object]) -> None:
    app, _, _ = hot_path
    with TestClient(app) as client:
        for path in ("/health/live", "/metrics", "/docs", "/", "/openapi.json"):
            got, head = client.get(path), client.head(path)
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-type"] == got.headers["content-type"]
        assert client.head("/health/ready").status_code == client.get("/health/ready").status_code
        assert client.head("/nowhere").status_code == 404


def test_a_service_inside_a_middleware_of_starlettes_answers(hot_path: tuple[FastAPI, str, object]) -> None:
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


def test_a_mounted_app_and_a_service_that_is_mounted_answer(hot_path: tuple[FastAPI, str, object]) -> None:
    app, path, body = hot_path

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with app.router.lifespan_context(app):
            yield

    own, outer = FastAPI(), FastAPI(lifespan=lifespan)
    own.get("/own")(lambda: "mine")
    app.mount("/sub", own)

    @outer.middleware("http")
    async def add_header(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        response.headers["X-Outer"] = "yes"
        return response

    outer.mount("/digits", app)
    with TestClient(outer) as client:
        assert client.get("/digits/sub/own").json() == "mine"
        assert 'path="/own"' in client.get("/digits/metrics").text
        answer = client.post(f"/digits{path}", json=body)
        assert passed(answer), answer.text
        assert answer.headers["x-outer"] == "yes"
