"""A lean route is an ordinary one to its user: it raises, and takes FastAPI's own way as soon as it needs more."""

import re
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.background import BackgroundTask

from common.service.lean_route import LeanRoute, LeanRouting
from common.service.request_context import request_context
from common.service.service import Service
from common.service.settings import ServiceSettings
from tests.support.processes import ROOT

KEY = {"X-API-Key": "secret"}


def guarded(key: Annotated[str, Header(alias="X-API-Key")] = "") -> str:
    if key != "secret":
        raise HTTPException(403, "X-API-Key: expected a valid key")
    return key


def lean_router() -> APIRouter:
    router = APIRouter(route_class=LeanRoute)

    @router.post("/lean")
    async def lean(request: Request) -> Response:
        request_context(request).log["lean"] = True
        if request.headers.get("fail"):
            raise HTTPException(403, "failed as asked")
        if request.headers.get("break"):
            raise LookupError("secret of the house")
        return Response(b"1", media_type="application/json")

    return router


def is_lean(app: FastAPI, path: str = "/lean") -> bool:
    """Whether the innermost middleware finds a handler at this path."""
    return ("POST", path) in LeanRouting(app, app)._routes


@pytest.fixture
def app() -> Service:
    return Service("own", ServiceSettings())


def test_a_lean_handler_raises_like_any_other(app: Service) -> None:
    app.include_router(lean_router())

    @app.exception_handler(LookupError)
    async def handle(request: Request, error: LookupError) -> Response:
        return JSONResponse({"looked up": True}, 418)

    assert is_lean(app)
    with TestClient(app) as client:
        assert client.post("/lean").json() == 1
        failed = client.post("/lean", headers={"fail": "1"})
        assert (failed.status_code, failed.json()["detail"]) == (403, "failed as asked")
        assert client.post("/lean", headers={"break": "1"}).status_code == 418
        assert client.get("/lean").status_code == 405


def test_a_users_exception_handler_sees_where_an_error_comes_from(app: Service) -> None:
    """Only then is it cut from the frames, which hold the request's body."""
    app.include_router(lean_router())
    seen: list[str] = []
    errors: list[HTTPException] = []

    @app.exception_handler(HTTPException)
    async def handle(request: Request, error: HTTPException) -> Response:
        seen.append(traceback.extract_tb(error.__traceback__)[-1].name)
        errors.append(error)
        return JSONResponse({"handled": True}, error.status_code)

    with TestClient(app) as client:
        assert client.post("/lean", headers={"fail": "1"}).json() == {"handled": True}
    assert seen == ["lean"]
    assert errors[0].__traceback__ is None


def test_an_unhandled_exception_reaches_the_server_after_a_500_without_details(app: Service) -> None:
    app.include_router(lean_router())
    answer = TestClient(app, raise_server_exceptions=False).post("/lean", headers={"break": "1"})
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    with pytest.raises(LookupError):
        TestClient(app).post("/lean", headers={"break": "1"})


@pytest.mark.parametrize("where", ["router", "inclusion", "app", "nested"])
def test_a_dependency_anywhere_guards_a_lean_handler(where: str) -> None:
    needs = [Depends(guarded)]
    app = Service("own", ServiceSettings(), dependencies=needs if where == "app" else None)
    router = lean_router()
    if where == "router":
        outer = APIRouter(dependencies=needs)
        outer.include_router(router)
        router = outer
    if where == "nested":
        inner, router = router, APIRouter()
        router.include_router(inner, prefix="/in", dependencies=needs)
    app.include_router(router, dependencies=needs if where == "inclusion" else None)
    path = "/in/lean" if where == "nested" else "/lean"
    assert not is_lean(app, path)
    with TestClient(app) as client:
        assert client.post(path).status_code == 403
        assert client.post(path, headers=KEY).json() == 1
        app.dependency_overrides[guarded] = lambda: "overridden"
        assert client.post(path).json() == 1


def test_a_handler_with_a_parameter_takes_fastapis_own_way(app: Service) -> None:
    router = APIRouter(route_class=LeanRoute)

    @router.post("/lean")
    async def lean(request: Request, number: int = 0) -> Response:
        return Response(str(number), media_type="application/json")

    app.include_router(router)
    assert not is_lean(app)
    with TestClient(app) as client:
        assert client.post("/lean?number=7").json() == 7
        refused = client.post("/lean?number=seven")
        assert refused.status_code == 422
        assert refused.json()["detail"].startswith("query number: ")


def test_a_router_that_is_included_twice_is_counted_by_its_own_paths(app: Service) -> None:
    app.include_router(lean_router(), prefix="/a")
    app.include_router(lean_router(), prefix="/b")
    app.include_router(lean_router())

    @app.get("/things/{thing}")
    async def thing(thing: str) -> str:
        return thing

    with TestClient(app) as client:
        for path in ("/a/lean", "/b/lean", "/lean"):
            assert client.post(path).json() == 1
        assert client.get("/things/x").json() == "x"
        text = client.get("/metrics").text
    for path in ("/a/lean", "/b/lean", "/lean", "/things/{thing}"):
        assert f'path="{path}"' in text


def test_no_file_of_common_drives_a_foreign_receive_by_hand() -> None:
    """Only the server's own `receive` may be polled; so `poll` is called in two places, each of which checks that."""
    callers = [
        file.name for file in (ROOT / "common").rglob("*.py") if re.search(r"(?<![.\w])poll\(", file.read_text())
    ]
    assert sorted(callers) == ["reading.py", "request_context.py"]


class Stamped(LeanRoute):
    """With FastAPI's documented hook."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def stamp(request: Request) -> Response:
            response = await handle(request)
            response.headers["X-Stamp"] = "yes"
            return response

        return stamp


class Answer:
    """A handler that is an object."""

    async def __call__(self, request: Request) -> Response:
        return Response(b"1", media_type="application/json")


async def answer(request: Request, number: int = 0) -> Response:
    return Response(b"1", media_type="application/json")


@pytest.mark.parametrize("handler", [Answer(), partial(answer, number=5)], ids=["object", "partial"])
def test_a_handler_that_is_no_plain_function_takes_fastapis_own_way(app: Service, handler: Callable[..., Any]) -> None:
    router = APIRouter(route_class=LeanRoute)
    router.add_api_route("/lean", handler, methods=["POST"])
    app.include_router(router)
    assert not is_lean(app)
    with TestClient(app) as client:
        assert client.post("/lean").status_code == 200


def test_a_route_class_of_ones_own_keeps_its_hook(app: Service) -> None:
    router = APIRouter(route_class=Stamped)
    router.add_api_route("/lean", Answer().__call__, methods=["POST"])
    app.include_router(router)
    with TestClient(app) as client:
        assert client.post("/lean").headers["x-stamp"] == "yes"


@pytest.mark.parametrize("earlier", ["template", "mounted"])
def test_an_earlier_route_wins_as_in_fastapi(app: Service, earlier: str) -> None:
    if earlier == "mounted":
        other = FastAPI()
        other.post("/lean")(lambda: "earlier")
        app.mount("/in", other)
    else:
        app.post("/in/{name}")(lambda: "earlier")
    app.include_router(lean_router(), prefix="/in")
    with TestClient(app) as client:
        assert client.post("/in/lean").json() == "earlier"


@pytest.mark.parametrize("route_class", [LeanRoute, APIRoute])
def test_the_handler_of_all_exceptions_sees_a_background_task_that_fails(
    app: Service, route_class: type[APIRoute]
) -> None:
    router, seen = APIRouter(route_class=route_class), []

    def fail() -> None:
        raise LookupError("later")

    @router.post("/lean")
    async def lean(request: Request) -> Response:
        return Response(b"1", media_type="application/json", background=BackgroundTask(fail))

    @app.exception_handler(Exception)
    async def watch(request: Request, error: Exception) -> Response:
        seen.append(error)
        return Response(status_code=500)

    app.include_router(router)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.post("/lean").json() == 1
    assert [str(error) for error in seen] == ["later"]


def fail_later() -> None:
    raise HTTPException(409, "later")


async def fail_midway() -> AsyncIterator[bytes]:
    yield b"1"
    raise HTTPException(409, "midway")


RESPONSES: dict[str, Callable[[], Response]] = {
    "file that is not there": lambda: FileResponse("/nowhere.pdf"),
    "background task": lambda: JSONResponse(1, background=BackgroundTask(fail_later)),
    "stream": lambda: StreamingResponse(fail_midway()),
}


@pytest.mark.parametrize("kind", RESPONSES)
@pytest.mark.parametrize("has_middleware", [False, True])
def test_a_response_that_fails_after_its_handler_has_returned_fails_as_on_fastapis_own_way(
    kind: str, has_middleware: bool
) -> None:
    def outcome(route_class: type[APIRoute]) -> tuple[object, ...]:
        app, router, seen = Service("own", ServiceSettings()), APIRouter(route_class=route_class), []

        @router.post("/lean")
        async def lean(request: Request) -> Response:
            return RESPONSES[kind]()

        @app.exception_handler(Exception)
        async def handle(request: Request, error: Exception) -> Response:
            seen.append(type(error))
            return JSONResponse({"mine": True}, 599)

        if has_middleware:
            app.add_middleware(GZipMiddleware)
        app.include_router(router)
        assert is_lean(app) is (route_class is LeanRoute)
        with TestClient(app, raise_server_exceptions=False) as client:
            answer = client.post("/lean")
            has_timing = "server-timing" in answer.headers
        with TestClient(app) as client:
            try:
                client.post("/lean")
                raised = None
            except Exception as error:
                raised = type(error), str(error)
        return answer.status_code, answer.content, has_timing, seen, raised

    assert outcome(LeanRoute) == outcome(APIRoute)
