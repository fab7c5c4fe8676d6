"""A service is a FastAPI app: its methods, mounted apps and `TestClient` work on every pattern's hot path."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.testclient import TestClient

from common.inference.predictor import Predictor, load_model
from common.prediction.predict_endpoint import predict_router
from common.telemetry.metrics import ServiceMetrics
from tests.support.patterns.hot_paths import HotPath, passed
from tests.support.samples import SEVEN_PIXELS
from web_single.settings import Settings as WebSingleSettings

CallNext = Callable[[Request], Awaitable[Response]]


def test_test_client_answers_without_the_lifespan_and_after_a_restart(hot_path: HotPath) -> None:
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
    hot_path: HotPath,
) -> None:
    """Each endpoint is a route of its own; Starlette would name the methods of the first."""
    app, path, _ = hot_path
    app.get(path)(lambda: "found")
    app.delete(path)(lambda: "gone")
    with TestClient(app) as client:
        answer = client.patch(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, POST")
        assert client.head(path).status_code == 200


def test_every_get_answers_head_too(hot_path: HotPath) -> None:
    app, _, _ = hot_path
    with TestClient(app) as client:
        for path in ("/health/live", "/metrics", "/docs", "/", "/openapi.json"):
            got, head = client.get(path), client.head(path)
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-type"] == got.headers["content-type"]
        assert client.head("/health/ready").status_code == client.get("/health/ready").status_code
        assert client.head("/nowhere").status_code == 404


def test_a_mounted_app_and_a_service_that_is_mounted_answer(hot_path: HotPath) -> None:
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


async def read_all(request: Request) -> None:
    assert await request.body()


async def read_json(request: Request) -> None:
    assert isinstance(await request.json(), dict)


async def take_json(body: Annotated[dict[str, object], Body()]) -> None:
    assert body


@pytest.mark.parametrize("dependency", [read_all, read_json, take_json])
def test_a_dependency_may_read_the_body_before_the_endpoint(
    hot_path: HotPath, dependency: Callable[..., Awaitable[None]]
) -> None:
    """As the check of a webhook's signature does."""
    app, path, body = hot_path
    guarded = APIRouter()
    guarded.routes.extend(app.routes)
    app.include_router(guarded, prefix="/guarded", dependencies=[Depends(dependency)])
    with TestClient(app) as client:
        answer = client.post(f"/guarded{path}", json=body)
        assert passed(answer), answer.text


def test_a_body_that_a_dependency_consumed_as_a_stream_is_an_error_at_once(hot_path: HotPath) -> None:
    """As in FastAPI, where it cannot be read a second time."""
    app, path, body = hot_path

    async def consume(request: Request) -> None:
        async for _ in request.stream():
            pass

    guarded = APIRouter()
    guarded.routes.extend(app.routes)
    app.include_router(guarded, prefix="/guarded", dependencies=[Depends(consume)])
    with TestClient(app) as client, pytest.raises(RuntimeError, match="Stream consumed"):
        client.post(f"/guarded{path}", json=body)


def test_an_openapi_document_of_ones_own_refers_to_nothing_that_it_lacks(hot_path: HotPath) -> None:
    """Made as FastAPI shows it: https://fastapi.tiangolo.com/how-to/extending-openapi/"""
    app, path, _ = hot_path
    app.openapi = lambda: get_openapi(title="mine", version="1", routes=app.routes)  # type: ignore[method-assign]
    with TestClient(app) as client:
        document = client.get("/openapi.json").json()
    assert (document["info"]["title"], path in document["paths"]) == ("mine", True)
    found = {*re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))}
    assert found <= {*document["components"]["schemas"]}
    assert "#/$defs" not in json.dumps(document)


def test_the_router_of_predictions_answers_in_a_plain_fastapi_app() -> None:
    """With the deadline and the limits of the settings; what else is a service's stays away."""
    settings, app = WebSingleSettings(grpc_port=0), FastAPI()
    predictor = Predictor(load_model(settings), settings, ServiceMetrics())
    app.include_router(predict_router(predictor, settings), prefix="/digits")
    with TestClient(app) as client:
        answer = client.post("/digits/predict", json={"pixels": SEVEN_PIXELS})
        assert (answer.status_code, answer.json()["digit"]) == (200, 7)
        assert client.post("/digits/predict", json={"pixels": []}).status_code == 422
