"""A shorter way to handlers that take only the request and return a `Response`: a route class, and a middleware.

FastAPI solves dependencies and opens two exit stacks for each request, which costs several times what a small model
does (benchmarks/README.md). For a handler that uses neither, `LeanRouting`, the innermost middleware, finds the
handler by its exact path and calls it. Everything else takes FastAPI's own way, and so does a handler as soon as it,
its router or the app gains a parameter or a dependency. `APIRouter(route_class=LeanRoute)` says which handlers may be
called like this; to take it away changes nothing but speed.
"""

import re
from collections.abc import Awaitable, Collection, Iterator
from inspect import iscoroutinefunction, isfunction, signature
from typing import TYPE_CHECKING, get_type_hints

from fastapi import Request, Response
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Mount, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.service.problems import cut_traceback
from common.service.root_path import local_path
from common.service.route_templates import RouteTemplates

if TYPE_CHECKING:
    from fastapi import FastAPI


FAILURE = "lean_route.failure"
"""Where in the scope an exception lies on its way through FastAPI's stack: a lean handler's, or a refusal of the
request middleware; and whether the response had started. It is raised where handlers are called, so that a user's
middleware and handlers see it."""


class LeanRoute(APIRoute):
    """An `APIRoute` whose handler is called without dependency solving where it needs none."""


class LeanRouting:
    """A middleware that calls lean handlers, and passes every other request on to FastAPI.

    It stands innermost, behind the user's middleware. If there is none, it also stands outermost: nothing between the
    two has anything to do. Only an exception then still goes through FastAPI's whole stack, which handles it.
    """

    def __init__(self, app: ASGIApp, fastapi_app: "FastAPI", is_outermost: bool = False) -> None:
        self._app = app
        self._is_outermost = is_outermost
        self._routes = dict(_lean_routes(fastapi_app))
        self._templates = RouteTemplates(fastapi_app.routes)
        handlers = {key: value for key, value in fastapi_app.exception_handlers.items() if key not in (500, Exception)}
        self._failing = ExceptionMiddleware(_fail, handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find a lean route by method and exact path; FastAPI answers everything else."""
        if FAILURE in scope:
            inner = self._app if self._is_outermost else self._failing
            await inner(scope, receive, send)
            return
        path = local_path(scope) if scope["type"] == "http" else ""
        route = self._routes.get((scope.get("method", ""), path))
        if route is None:
            await self._pass_on(scope, receive, send)
            return
        scope["route"], scope["endpoint"] = route, route.endpoint
        started = False

        def note_start(message: Message) -> Awaitable[None]:
            nonlocal started
            started = True
            return send(message)

        try:
            response = await route.endpoint(Request(scope, receive, note_start))
            await response(scope, receive, note_start)
        except Exception as error:
            sender = _discard if started else send  # a response that has begun cannot be replaced
            scope[FAILURE] = error, started
            await (self._app if self._is_outermost else self._failing)(scope, receive, sender)
            cut_traceback(error)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have FastAPI answer; HEAD as the GET that it declares. Only middleware outside of this one sees the HEAD."""
        if scope.get("method") != "HEAD":
            await self._app(scope, receive, send)
            return
        inner = self._templates.as_get(scope)
        try:
            await self._app(inner, receive, send)
        finally:
            scope.update({name: inner[name] for name in ("route", "endpoint") if name in inner})


async def _discard(message: Message) -> None:
    """Send nothing: the response has begun, and what handles its failure cannot answer any more."""


async def _fail(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that fails as the scope says, before or after its response started, for Starlette to handle it."""
    error, started = scope.pop(FAILURE)
    try:
        if started:
            await send({"type": "http.response.start", "status": 500, "headers": []})
        raise error
    finally:
        del error  # its traceback holds this frame


def _lean_routes(app: "FastAPI") -> Iterator[tuple[tuple[str, str], LeanRoute]]:
    """The lean routes by method and path, unless an earlier route answers there, as in FastAPI."""
    earlier: list[tuple[Collection[str] | None, re.Pattern[str]]] = []
    for route in iter_route_contexts(app.routes):
        original, path = route.original_route, str(route.path)
        # A route of this very class: one of a subclass may do more (`get_route_handler`).
        if type(original) is LeanRoute and _takes_only_the_request(route):
            for method in route.methods or ():
                if not any(pattern.match(path) for methods, pattern in earlier if methods is None or method in methods):
                    yield (method, path), original
        pattern = compile_path(f"{path.rstrip('/')}/{{path:path}}" if isinstance(original, Mount) else path)[0]
        earlier.append((route.methods, pattern))


def _takes_only_the_request(route: RouteContext) -> bool:
    """Whether the handler, with its router's and the app's dependencies and limits, needs nothing but the request."""
    handler, needs = route.dependant.call, route.dependant
    if not (isfunction(handler) and iscoroutinefunction(handler)):
        return False
    try:
        answer = get_type_hints(handler).get("return")
    except NameError:  # a type that is imported for type checkers only
        return False
    return (
        needs.request_param_name is not None
        and len(signature(handler).parameters) == 1
        and not needs.dependencies
        and not route.param_convertors
        and route.max_body_size is None
        and isinstance(answer, type)
        and issubclass(answer, Response)
    )
