"""uvicorn's HTTP/1.1 protocol, quicker and safer: `uvicorn … --http common.server.http_protocol:HttpProtocol`.

- An offer to upgrade is ignored, as RFC 9110 allows. Java's HttpClient and `curl --http2` send `Upgrade: h2c`, and
  httptools would lose the body of that request. A WebSocket passes, which only a GET can open.
- Headers that are too long get a 431, and the connection is closed: they cannot fill the memory.
- Headers that do not end in time close the connection, and so does a connection without any request. A body that still
  comes after its request was answered has a few seconds to end.
- Responses are sent at the end of the loop's turn, one after another, each with its headers.

A service works without it too, with uvicorn's own protocol.
"""

import re
from asyncio import TimerHandle, Transport
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from common.server.response_transport import ResponseTransport
from common.service.problems import MEDIA_TYPE, Problem

END_OF_HEADERS = b"\r\n\r\n"
OFFER = b"\r\nupgrade:"
OFFER_LINE = re.compile(OFFER + rb"[ \t]*(websocket)?[^\r\n]*(?=\r\n)", re.IGNORECASE)
DISCARD_SECONDS = 1.0
"""How long a refused client may go on sending: a connection that is closed at once may lose the 431."""


class HttpProtocol(HttpToolsProtocol):
    """One connection. To change its limits, set them in a subclass.

    It has `__slots__`: in an object with more than 30 attributes Python reads all of them more slowly, uvicorn's too.
    """

    __slots__ = (
        "_answered_timer",
        "_between_requests",
        "_bytes_without_progress",
        "_header_timer",
        "_headers",
        "_ignores_input",
    )

    max_header_bytes = 64 * 1024
    header_seconds = 10.0
    """From the first byte of a request to the end of its headers."""
    answered_seconds = 10.0
    """From a response that did not wait for the whole body (413, 408) to the end of that body."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._between_requests = True
        self._headers = bytearray()  # of the next request, as long as they are incomplete
        self._bytes_without_progress = 0
        self._header_timer: TimerHandle | None = None
        self._answered_timer: TimerHandle | None = None
        self._ignores_input = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Wait for the first request as long as for any further one."""
        super().connection_made(transport)
        self.transport = ResponseTransport(transport, self.loop)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def eof_received(self) -> None:
        """Send what waits for the end of the turn: the client sends no more but may read on, and now it is closed."""
        cast(ResponseTransport, self.transport).flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._ignore_input()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass a request's headers to the parser as a whole, and its body as it comes."""
        if self._ignores_input:
            return
        if self._between_requests:
            end = -1 if self._headers else data.find(END_OF_HEADERS)
            if end <= 0:
                data = self._collect_headers(data)
                if not data:
                    return
                end = data.find(END_OF_HEADERS)
            if end > self.max_header_bytes:
                self._refuse_headers()
                return
            self._between_requests = False
        else:
            self._bytes_without_progress += len(data)
        self._parse(data)
        if self._header_timer or self._is_in_headers():
            self._watch_headers()
        if self._bytes_without_progress > self.max_header_bytes:  # a trailer or a chunk's header without an end
            self._refuse_headers()

    def on_body(self, body: bytes) -> None:
        """The parser has seen a part of the body."""
        self._bytes_without_progress = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The parser has seen the end of a request."""
        self._between_requests, self._bytes_without_progress = True, 0
        if self._answered_timer:
            self._answered_timer.cancel()
            self._answered_timer = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Read on once no pipelined request waits. The rest of a request that is answered already has little time."""
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()  # uvicorn reads on, so requests would come faster than they are answered
        if self.cycle.response_complete and self.cycle.more_body:
            self._answered_timer = self.loop.call_later(self.answered_seconds, self._on_timeout)

    def _should_upgrade_to_ws(self) -> bool:
        """uvicorn would take any method for a WebSocket, and never answer one with a body."""
        return self.scope["method"] == "GET" and super()._should_upgrade_to_ws()

    def _unsupported_upgrade_warning(self) -> None:
        """Close after this response: the parser gives up at an offer that came to it in several packets."""
        self._ignore_input()
        self.cycle.keep_alive = False

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to another protocol."""
        self._ignore_input()
        self.transport = cast(ResponseTransport, self.transport).detach()
        super().handle_websocket_upgrade()

    def _parse(self, data: bytes) -> None:
        """Pass data to the parser, but no offers that stand in headers; a body that mentions one stays whole."""
        start = 0
        for offer in OFFER_LINE.finditer(data) if OFFER in data.lower() else ():
            super().data_received(data[start : offer.start()])
            if self.transport.is_closing():  # the parser has refused it
                return
            is_websocket = offer[1] and self.parser.get_method() == b"GET"
            start = offer.end() if self._is_in_headers() and not is_websocket else offer.start()
        super().data_received(data[start:])

    def _is_in_headers(self) -> bool:
        """Whether the parser knows some headers of a request, but not all."""
        return getattr(self.cycle, "scope", None) is not self.scope

    def _watch_headers(self) -> None:
        """Limit the time for headers that are with the parser, since they began in the packet that ended a request."""
        if not self._is_in_headers():
            self._stop_header_timer()
        elif not self._ignores_input:
            self._between_requests = False
            self._start_header_timer()

    def _collect_headers(self, data: bytes) -> bytes:
        """Keep headers that are incomplete, and return nothing; with their end, all that was kept."""
        self._start_header_timer()
        if not self._headers:
            data = data.lstrip(b"\r\n")  # which some clients send after a body
            if data and not data[:1].isupper():
                return data  # no HTTP method: the parser refuses it at once
        self._unset_keepalive_if_required()
        searched = max(0, len(self._headers) - len(END_OF_HEADERS))
        self._headers += data
        if self._headers.find(END_OF_HEADERS, searched) < 0:
            if len(self._headers) > self.max_header_bytes:
                self._refuse_headers()
            return b""
        data = bytes(self._headers)
        self._headers.clear()
        return data

    def _refuse_headers(self) -> None:
        """Answer 431 and close; while an earlier request of this connection is being answered, only close after it."""
        self._ignore_input()
        self._unset_keepalive_if_required()
        if not getattr(self.cycle, "response_complete", True):
            self.shutdown()
            return
        body = Problem(431, f"headers: expected at most {self.max_header_bytes} bytes, got more").document()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[431], *lines, b"\r\n", body]))
        self.transport.write_eof()
        self.loop.call_later(DISCARD_SECONDS, self.transport.close)

    def _start_header_timer(self) -> None:
        if not self._header_timer:
            self._header_timer = self.loop.call_later(self.header_seconds, self._on_timeout)

    def _stop_header_timer(self) -> None:
        if self._header_timer:
            self._header_timer.cancel()
            self._header_timer = None

    def _on_timeout(self) -> None:
        self._ignore_input()
        self.shutdown()  # at once, or after the response that is on its way

    def _ignore_input(self) -> None:
        self._ignores_input = True
        self._headers = bytearray()
        self._stop_header_timer()
        if self._answered_timer:
            self._answered_timer.cancel()
