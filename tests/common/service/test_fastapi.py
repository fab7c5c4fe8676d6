"""A service is a FastAPI app: its methods, mounted apps and `TestClient` work on every pattern's hot path."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient

from tests.support.patterns.hot_paths import HotPath, passed

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
