"""A request and its reply, as an endpoint on the hot path sees them.

FastAPI's own way to an endpoint (routing, dependencies, `Request`, `Response`) costs several times what a small model
does (benchmarks/README.md). What serves a model is therefore an `async def endpoint(call) -> Reply`, declared in the
same OpenAPI document as everything else.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from common.body import poll, read_body
from common.errors import Problem

@dataclass(slots=True)
class Call:
    """One request: its headers (lower case), its deadline as a `time.monotonic()`, and what took how many seconds."""

    method: str
    path: str
    headers: dict[bytes, bytes]
    deadline: float
    receive: Receive
    max_body_bytes: int
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def media_type(self) -> str:
        """The Content-Type in lower case, without its parameters; empty where there is none."""
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")

    async def body(self) -> bytes:
        """The whole body; raises `Problem` 413 (too long), 408 (not here by the deadline), or `ClientLeft`."""
        return await read_body(self.receive, self.deadline, self.max_body_bytes)

    def client_left(self) -> bool:
        """Whether the caller has closed the connection; to be asked once the body is read."""
        message = poll(self.receive)
        return message is not None and message["type"] == "http.disconnect"


@dataclass(slots=True)
class Reply:
    """What goes back to the caller."""

    body: bytes
    status: int = 200
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    async def send(self, send: Send) -> None:
        """Send it as one ASGI response."""
        headers = [(b"content-type", self.media_type.encode()), (b"content-length", b"%d" % len(self.body))]
        headers += [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


Endpoint = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class EndpointRoute:
    """An endpoint at its path, as an ASGI application that finds its `Call` in the scope."""

    method: str
    path: str
    endpoint: Endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the endpoint and send its reply; raises `Problem` 405."""
        scope["route"] = self
        call: Call = scope["call"]
        if call.method != self.method:
            raise Problem(405, f"{self.path}: expected {self.method}, got {call.method}", {"Allow": self.method})
        reply = await self.endpoint(call)
        await reply.send(send)
