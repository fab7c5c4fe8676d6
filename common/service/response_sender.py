"""The answer to one request on its way out: every answer tells its timing and its trace."""

from time import monotonic

from starlette.types import Message, Send

from common.service.process_state import State
from common.service.request_context import Reply, Stream
from common.service.server_timing import server_timing
from common.service.tracing import Trace

CLIENT_LEFT = 499
"""What nginx calls a request whose caller did not wait; nobody gets to see it but the log and the metrics."""

Headers = list[tuple[bytes, bytes]]


class Answer:
    """Sends one answer; `status` is what was sent, or 499 while nothing was."""

    def __init__(self, send: Send, timings: dict[str, float], trace: Trace, started: float, state: State) -> None:
        self.status = CLIENT_LEFT
        self._send = send
        self._timings = timings
        self._trace = trace
        self._started = started
        self._state = state

    async def reply(self, reply: Reply | Stream) -> None:
        """Send a reply whole, or in parts as they come."""
        if isinstance(reply, Stream):
            await self._stream(reply)
            return
        self.status = reply.status
        headers = [
            (b"content-type", reply.media_type.encode()),
            (b"content-length", b"%d" % len(reply.body)),
            *self._headers(),
        ]
        for name, value in reply.headers.items():
            headers.append((name.lower().encode(), value.encode()))
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": reply.body})

    async def refuse(self, reply: Reply) -> None:
        """Send what tells of a problem, unless another answer has begun."""
        if self.status == CLIENT_LEFT:
            await self.reply(reply)

    async def pass_on(self, message: Message) -> None:
        """Send what FastAPI answers; to be given to it as its `send`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._headers()]
        await self._send(message)

    async def _stream(self, stream: Stream) -> None:
        self.status = 200
        headers = [(b"content-type", stream.media_type.encode()), (b"cache-control", b"no-cache"), *self._headers()]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        async for part in stream.parts:
            await self._send({"type": "http.response.body", "body": part, "more_body": True})
        await self._send({"type": "http.response.body"})

    def _headers(self) -> Headers:
        headers = [
            (b"server-timing", server_timing(self._timings, monotonic() - self._started)),
            (b"traceparent", self._trace.traceparent.encode()),
        ]
        if self._state.draining:  # no client shall reuse a connection that is about to close
            headers.append((b"connection", b"close"))
        return headers
