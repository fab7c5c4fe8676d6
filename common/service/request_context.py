"""A request and its reply, as an endpoint on the hot path sees them.

FastAPI's own way to an endpoint (routing, dependencies, `Request`, `Response`) costs several times what a small model
does (benchmarks/README.md). What serves a model is therefore an `async def endpoint(call) -> Reply`, declared in the
same OpenAPI document as everything else.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.types import Receive

from common.service.problems import MEDIA_TYPE, ClientLeft, Problem
from common.service.request_body import poll, read_body
from common.service.server_timing import Timings

Form = TypeVar("Form", bound=BaseModel)
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Call:
    """One request: its headers (lower case), its deadline as a `time.monotonic()`, and what took how many seconds.

    What is put into `log` becomes part of the request's line in the log.
    """

    method: str
    path: str
    headers: dict[bytes, bytes]
    deadline: float
    receive: Receive
    max_body_bytes: int
    query_string: bytes = b""
    timings: Timings = field(default_factory=dict)
    log: dict[str, object] = field(default_factory=dict)

    @property
    def media_type(self) -> str:
        """The Content-Type in lower case, without its parameters; empty where there is none."""
        return _media_type(self.headers.get(b"content-type", b""))

    def query(self, form: type[Form]) -> Form:
        """The parameters after the `?`, as this model has them; raises `Problem` 422 where they are not."""
        pairs = parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True) if self.query_string else ()
        try:
            return form.model_validate(dict(pairs))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            known = ", ".join(form.model_fields)
            raise Problem(422, f"query {where}: {first['msg']}, got {first['input']!r:.80}; it takes {known}") from None

    async def body(self) -> bytes:
        """The whole body; raises `Problem` 413 (too long), 408 (not here by the deadline), or `ClientLeft`."""
        return await read_body(self.receive, self.deadline, self.max_body_bytes)

    def client_left(self) -> bool:
        """Whether the caller has closed the connection; to be asked once the body is read."""
        message = poll(self.receive)
        return message is not None and message["type"] == "http.disconnect"

    @contextmanager
    def while_client_waits(self) -> Iterator[None]:
        """Cancel what is awaited in this block when the caller closes the connection; raises `ClientLeft` then.

        For work that takes a while elsewhere; to be entered once the body is read.
        """
        task = asyncio.current_task()
        assert task is not None
        in_block = True

        async def watch() -> None:
            while (await self.receive())["type"] != "http.disconnect":
                pass
            if in_block:
                task.cancel()

        watcher = asyncio.create_task(watch())
        try:
            yield
        except asyncio.CancelledError:
            if watcher.done() and not watcher.cancelled() and task.uncancel() == 0:
                raise ClientLeft from None
            raise
        finally:
            in_block = False
            watcher.cancel()


class Reply(NamedTuple):
    """What goes back to the caller."""

    body: bytes
    status: int = 200
    media_type: str = "application/json"
    headers: Mapping[str, str] = NO_HEADERS


class Stream(NamedTuple):
    """What goes back to the caller part by part, each as soon as it is there."""

    parts: AsyncIterator[bytes]
    media_type: str = "text/event-stream"


Endpoint = Callable[[Call], Awaitable[Reply | Stream]]
Refusal = Callable[[Problem], Reply]
"""How a path tells its callers of a problem."""


def problem_document(problem: Problem) -> Reply:
    """The problem as RFC 9457 has it."""
    return Reply(problem.document(), problem.status_code, MEDIA_TYPE, problem.headers or {})


class EndpointRoute(NamedTuple):
    """An endpoint at its path, which is matched exactly."""

    method: str
    path: str
    endpoint: Endpoint
    refusal: Refusal = problem_document

    async def reply(self, call: Call) -> Reply | Stream:
        """The endpoint's reply; raises `Problem` 405 and whatever the endpoint raises."""
        if call.method != self.method:
            raise Problem(405, f"{self.path}: expected {self.method}, got {call.method}", {"Allow": self.method})
        return await self.endpoint(call)


@lru_cache(maxsize=64)
def _media_type(header: bytes) -> str:
    return header.partition(b";")[0].strip().lower().decode("latin-1")
