"""A `Service` of one's own: what FastAPI takes, it takes as well."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field
from starlette.middleware import Middleware

from common.service.service import Service
from common.service.settings import ServiceSettings


@pytest.fixture
def app() -> Service:
    return Service("own", ServiceSettings())


def test_a_user_declares_head_and_options_for_themselves(app: Service) -> None:
    @app.head("/own")
    async def head() -> Response:
        return Response(headers={"X-Head": "mine"})

    @app.options("/own")
    async def options() -> Response:
        return Response(headers={"Allow": "HEAD"})

    with TestClient(app) as client:
        assert client.head("/own").headers["x-head"] == "mine"
        assert client.options("/own").headers["allow"] == "HEAD"


def test_a_lifespan_of_ones_own_runs_beside_the_services() -> None:
    events = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        events.append("started")
        yield {"database": "open"}
        events.append("stopped")

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        events.append("resource opened")
        yield
        events.append("resource closed")

    app = Service("own", ServiceSettings(), lifespan=lifespan)
    app.add_lifespan(resource)

    @app.get("/database")
    async def database(request: Request) -> str:
        return str(request.state.database)

    with TestClient(app) as client:
        assert client.get("/database").json() == "open"
    assert events == ["resource opened", "started", "stopped", "resource closed"]


def test_middleware_and_exception_handlers_may_be_given_at_the_start() -> None:
    async def handle(_: Request, error: Exception) -> Response:
        return JSONResponse({"mine": str(error)}, 418)

    cors = Middleware(CORSMiddleware, allow_origins=["*"])
    app = Service("own", ServiceSettings(), middleware=[cors], exception_handlers={KeyError: handle})

    @app.get("/fails")
    async def fails() -> None:
        raise KeyError("key")

    with TestClient(app) as client:
        answer = client.get("/fails", headers={"Origin": "https://example.com"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (418, "*")
        assert client.get("/nowhere").headers["content-type"] == "application/problem+json"


class Order(BaseModel):
    customer: str = Field(examples=["acme"])
    express: bool = False


@pytest.mark.parametrize(
    ("query", "body", "detail"),
    [
        ("", {"express": True}, 'body customer: Field required, got {"express":true}; for example "acme"'),
        ("", {"customer": "x", "express": [1]}, "body express: Input should be a valid boolean, got [1]"),
        (
            "?count=x",
            {"customer": "x"},
            "query count: Input should be a valid integer, unable to parse string as an integer, "
            'got "x"; for example 3',
        ),
    ],
)
def test_a_wrong_field_is_shown_as_json_with_an_example(app: Service, query: str, body: object, detail: str) -> None:
    inner, outer = APIRouter(prefix="/orders"), APIRouter()

    @inner.post("")
    async def order(order: Order, count: Annotated[int, Query(examples=[3])] = 1) -> Order:
        return order

    outer.include_router(inner)
    app.include_router(outer, prefix="/api")
    with TestClient(app) as client:
        answer = client.post(f"/api/orders{query}", json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert answer.json()["detail"] == detail


@pytest.mark.parametrize("body", [b"\xff\xfe", b'{"customer": ["\\ud800"]}', b'{"customer": NaN}', b""])
def test_a_wrong_field_that_json_does_not_have_is_a_422_too(app: Service, body: bytes) -> None:
    @app.post("/orders")
    async def order(order: Order) -> Order:
        return order

    with TestClient(app) as client:
        for media_type in ("application/json", "text/plain"):
            answer = client.post("/orders", content=body, headers={"Content-Type": media_type})
            assert answer.status_code in (400, 422), answer.text


def test_head_of_a_mounted_app_is_answered_as_the_app_declares_it(app: Service) -> None:
    mounted = FastAPI()
    mounted.get("/get")(lambda: "body")
    mounted.head("/{name}/head")(lambda name: Response(headers={"X-Head": name}))
    app.mount("/sub", mounted)
    with TestClient(app) as client:
        assert client.head("/sub/own/head").headers["x-head"] == "own"
        assert client.head("/sub/get").status_code == 200


@pytest.fixture
def swagger(app: Service) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def test_docs_load_nothing_from_elsewhere(swagger: TestClient) -> None:
    page = swagger.get("/docs").text
    assert "//cdn" not in page
    for file in ("/docs/files/swagger-ui-bundle.js", "/docs/files/swagger-ui.css"):
        assert file in page
        assert len(swagger.get(file).content) > 100_000


@pytest.mark.parametrize(
    ("parameters", "paths"),
    [
        ({}, {"/docs"}),
        ({"docs_url": "/try"}, {"/try"}),
        ({"docs_url": None}, set()),
        ({"openapi_url": None}, set()),
        ({"redoc_url": "/redoc"}, {"/docs", "/redoc"}),
    ],
)
def test_the_pages_of_the_documentation_are_chosen_as_in_fastapi(parameters: dict[str, Any], paths: set[str]) -> None:
    app = Service("own", ServiceSettings(), telemetry=None, swagger_ui_parameters={"deepLinking": False}, **parameters)
    with TestClient(app) as client:
        assert {path for path in ("/docs", "/try", "/redoc") if client.get(path).status_code == 200} == paths
        for path in paths - {"/redoc"}:
            page = client.get(path).text
            assert '"deepLinking": false' in page
            assert client.get(f"{path}/files/swagger-ui.css").status_code == 200
