"""A service is a FastAPI app: what a user raises, and how a user answers errors, counts on every pattern's hot path."""

import json

import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from tests.support.patterns.hot_paths import HotPath


def test_a_users_exception_handler_replaces_ours(hot_path: HotPath) -> None:
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
    hot_path: HotPath, status: int, detail: object, shown: object
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
    hot_path: HotPath, errors: list[object]
) -> None:
    app, path, _ = hot_path

    @app.post(f"{path}/own/place")
    async def fail() -> None:
        raise RequestValidationError(errors)

    with TestClient(app) as client:
        answer = client.post(f"{path}/own/place")
        assert (answer.status_code, "too late" in answer.text) == (422, True)


def test_a_mounted_app_that_fails_raises_its_own_error(hot_path: HotPath) -> None:
    app, _, _ = hot_path
    mounted = FastAPI()

    @mounted.get("/fails")
    async def fail() -> None:
        raise LookupError("of the mounted app")

    app.mount("/sub", mounted)
    with TestClient(app) as client, pytest.raises(LookupError, match="of the mounted app"):
        client.get("/sub/fails")
