"""The patterns' apps as a FastAPI user changes them: for `uvicorn tests.support.fastapi_apps:NAME --factory`."""

import gc
import os
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import cast

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, iter_route_contexts

from common.service.lean_route import LeanRoute

CallNext = Callable[[Request], Awaitable[Response]]


def pattern_app() -> FastAPI:
    """The app that the environment variable PATTERN_APP names, such as `synchronous.proxy:create_app`."""
    module, _, function = os.environ.get("PATTERN_APP", "web_single.predictor:create_app").partition(":")
    return cast(FastAPI, getattr(import_module(module), function)())


def without_lean_routes() -> FastAPI:
    """Every handler takes FastAPI's own way, as it does with `route_class=APIRoute`."""
    app = pattern_app()
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, LeanRoute):
            route.original_route.__class__ = APIRoute  # type: ignore[assignment]
    return app


def with_http_middleware() -> FastAPI:
    """With a user's middleware, which is Starlette's `BaseHTTPMiddleware`."""
    app = pattern_app()

    @app.middleware("http")
    async def add_header(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        response.headers["X-Middleware"] = "yes"
        return response

    return app


def with_garbage_count() -> FastAPI:
    """Nothing is collected but by `GET /garbage`, which says how many objects only the garbage collector could free."""
    app = pattern_app()
    gc.disable()

    @app.get("/garbage")
    async def garbage() -> int:
        return gc.collect()

    return app
