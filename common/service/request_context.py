"""What the middleware knows of a request, for its handler: deadline, timings, log fields, whether the client waits.

It lies in `request.state` and is reached by plain functions of FastAPI's own `Request`, so a handler works under any
route class and behind any middleware.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import cache
from time import monotonic
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive
from uvicorn.protocols.http.h11_impl import RequestResponseCycle as H11Cycle
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle as HttpToolsCycle

from common.service.settings import ServiceSettings
from common.telemetry.server_timing import Timings

T = TypeVar("T")


@dataclass(slots=True)
class RequestContext:
    """One request: its deadline as a `time.monotonic()`, its limits, and what took how many seconds.

    `receive` is the server's own, which may be polled; None where there is only another's. What is put into `log`
    becomes part of the request's line in the log. `disconnected`: the client has left while its answer was under way.
    """

    deadline: float
    max_body_bytes: int
    receive: Receive | None = None
    timings: Timings = field(default_factory=dict)
    log: dict[str, object] = field(default_factory=dict)
    disconnected: bool = False

    def client_disconnected(self) -> bool:
        """Whether the client has closed the connection; call it once the body is read."""
        if self.receive is None:
            return False
        message = poll(self.receive)
        return message is not None and message["type"] == "http.disconnect"


def request_context(request: Request) -> RequestContext:
    """What the middleware knows of this request; in an app that is no `Service`, the deadline begins here."""
    state = request.scope.setdefault("state", {})
    if "request_context" not in state:
        settings = _settings()
        deadline = monotonic() + settings.request_timeout_ms / 1e3
        state["request_context"] = RequestContext(deadline, settings.max_body_bytes, pollable(request.receive))
    context: RequestContext = state["request_context"]
    return context


@cache
def _settings() -> ServiceSettings:
    return ServiceSettings.from_environment()


async def client_disconnected(request: Request) -> bool:
    """Whether the client has closed the connection; call it once the body is read."""
    return request_context(request).client_disconnected()


async def cancel_on_disconnect(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client closes the connection; raises `ClientDisconnect` then.

    For work that takes a while elsewhere. Call it once the body is read.
    """
    task = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(_disconnect(request_context(request).receive or request.receive))
    try:
        await asyncio.wait((task, disconnect), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        request_context(request).disconnected = True
        raise ClientDisconnect
    finally:
        task.cancel()
        disconnect.cancel()
        del task, disconnect  # an error's traceback holds this frame, and so would never be freed by counting


def media_type(request: Request) -> str:
    """The Content-Type in lower case, without its parameters; empty where there is none."""
    return (header(request, b"content-type") or "").partition(";")[0].strip().lower()


def header(request: Request, name: bytes) -> str | None:
    """A header by its name in lower case; several times as quick as `request.headers`, which does more."""
    for key, value in request.scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def pollable(receive: Receive) -> Receive | None:
    """The `receive` if it is uvicorn's own, else None: that of a middleware around the whole service, or of a test."""
    return receive if isinstance(getattr(receive, "__self__", None), (HttpToolsCycle, H11Cycle)) else None


def poll(receive: Receive) -> Message | None:
    """What the server has for us at this moment, without waiting for more.

    Only what `pollable` lets through may be driven by hand: the `receive` of a middleware may own a task group.
    """
    waiting: Any = receive()  # a coroutine, which a type checker knows as an awaitable only
    try:
        waiting.send(None)
    except StopIteration as done:
        message: Message = done.value
        return message
    waiting.close()
    return None
