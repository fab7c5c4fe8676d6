"""What a caller gets instead of an answer: one exception, rendered as RFC 9457 `application/problem+json`.

Anything below an endpoint may raise `Problem`; the service renders it, as it renders FastAPI's own errors. The detail
says what to send instead: field, what was expected, what was sent, an example.
"""

from collections.abc import Callable, Coroutine
from http.client import responses
from typing import Any

from fastapi import HTTPException as FastAPIHTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from fastapi.utils import is_body_allowed_for_status_code
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path

from common.service.root_path import local_path
from common.service.validation_errors import describe_error

MEDIA_TYPE = "application/problem+json"
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a request whose client disconnected. Only the log and the metrics see it."""


class Problem(FastAPIHTTPException):
    """A request that cannot be answered, and why.

    `extensions` become further members of the problem document (RFC 9457, section 3.2); `headers` go onto the
    response (`Retry-After`, `Allow`). It is FastAPI's `HTTPException`, and handled like one; so its `detail` may be
    an object or a list, too.
    """

    def __init__(self, status: int, detail: Any, headers: dict[str, str] | None = None, **extensions: object) -> None:
        super().__init__(status, detail, headers)
        self.extensions = extensions

    def document(self) -> bytes:
        """The problem as UTF-8 JSON. Its type is `about:blank`: the status says what kind of problem it is."""
        title = responses.get(self.status_code, "Error")  # the status may be one that no standard has
        common = {"type": "about:blank", "title": title, "status": self.status_code, "detail": self.detail}
        return to_json(common | self.extensions, fallback=str, inf_nan_mode="null")


INTERNAL_ERROR = Problem(
    500, "the service failed: search its log for the trace id in the response's header traceparent"
)

ProblemRenderer = Callable[[Request, Problem], Response]
"""Turns a problem into a response."""


def problem_document(problem: Problem) -> Response:
    """The problem as RFC 9457 defines it."""
    return Response(problem.document(), problem.status_code, problem.headers, MEDIA_TYPE)


async def problem_handler(request: Request, error: Exception) -> Response:
    """FastAPI's exception handler for `HTTPException`, `RequestValidationError` and every other exception.

    Below a prefix that has a renderer of its own (`Service.problem_renderers`), that one is used.
    """
    if isinstance(error, HTTPException | RequestValidationError | ClientDisconnect):
        cut_traceback(error)  # of any other, the server logs the traceback
    if isinstance(error, ClientDisconnect):
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return render_problem(request, to_problem(request, error))


def cut_traceback(error: BaseException) -> None:
    """Free what an error that has become an answer still holds: the frames that it passed, with the request's body.

    Such a frame often holds the error in turn, or a task that raised it. Then only the garbage collector would free
    them, which runs so rarely that bodies of some megabytes would fill the memory before.
    """
    cause: BaseException | None = error
    while cause:
        cause.__traceback__ = None
        cause.__context__, cause = None, cause.__context__


def render_problem(request: Request, problem: Problem) -> Response:
    """The problem as clients of this path expect it; without a body where the status allows none, such as 304."""
    if not is_body_allowed_for_status_code(problem.status_code):
        return Response(None, problem.status_code, problem.headers)
    path = local_path(request.scope)
    for prefix, render in getattr(request.app, "problem_renderers", {}).items():  # a mounted app has none
        if path == prefix or path.startswith(f"{prefix}/"):
            rendered: Response = render(request, problem)
            return rendered
    return problem_document(problem)


def to_problem(request: Request, error: Exception) -> Problem:
    """Any exception as a problem; a failure of the service itself is a 500 without details."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return Problem(422, "; ".join(describe_error(request, found) for found in error.errors()))
    if not isinstance(error, HTTPException):
        return INTERNAL_ERROR
    headers = dict(error.headers or {})
    if error.status_code == 405 and "Allow" in headers:
        headers["Allow"] = ", ".join(_methods(request)) or headers["Allow"]
        return Problem(405, f"{request.url.path}: expected {headers['Allow']}, got {request.method}", headers)
    return Problem(error.status_code, error.detail, headers)


def _methods(request: Request) -> list[str]:
    """The methods of all routes at this path; Starlette names those of the first one only."""
    path = local_path(request.scope)
    here = [route for route in iter_route_contexts(request.app.routes) if compile_path(str(route.path))[0].match(path)]
    return sorted({method for route in here for method in route.methods or ()})


PROBLEM_HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = dict.fromkeys(
    (HTTPException, RequestValidationError, ClientDisconnect, Exception), problem_handler
)
