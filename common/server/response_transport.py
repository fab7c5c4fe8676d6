"""Sends responses at the end of the event loop's turn, one after another, each with its headers.

uvloop hands each write to the kernel at once. Headers and body apart would be two system calls and two packets. And
a write that wakes up its client costs more than a small model does: it is paid once for responses that follow each
other closely, but for each of them if other work lies between (benchmarks/README.md).
"""

from asyncio import AbstractEventLoop, Transport
from typing import Any
from weakref import WeakKeyDictionary

LONG_BYTES = 64 * 1024
"""What is longer is sent at once: the connection's own limits then stop a handler that writes faster than its client
reads."""


class Turn:
    """The connections that one turn of an event loop writes to; `is_quiet`: the turn before had one such connection."""

    def __init__(self) -> None:
        self.is_quiet = True
        self._waiting: list[ResponseTransport] = []

    def add(self, transport: "ResponseTransport", loop: AbstractEventLoop) -> None:
        """Have this one send at the end of the turn what it holds then."""
        if not self._waiting:  # one callback for all costs less than one for each
            loop.call_soon(self._end)
        self._waiting.append(transport)

    def _end(self) -> None:
        transports, self._waiting = self._waiting, []
        self.is_quiet = len(transports) == 1
        for transport in transports:
            transport.end_turn()


_turns: WeakKeyDictionary[AbstractEventLoop, Turn] = WeakKeyDictionary()  # so no turn may hold its loop


class ResponseTransport(Transport):
    """A connection's transport, as its HTTP protocol sees it."""

    __slots__ = ("_connection", "_delayed", "_loop", "_turn", "_writes")

    def __init__(self, connection: Transport, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._connection = connection
        self._loop = loop
        self._turn = _turns.setdefault(loop, Turn())
        self._delayed = b""
        self._writes = 0  # in this turn

    def write(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn has nothing but bytes
        """Send this at the end of the turn; in quiet times a response leaves as soon as it has a body.

        What follows headers and a body is a stream, which leaves at once: its handler may block the loop in between.
        """
        self._writes += 1
        if self._writes == 1:
            self._turn.add(self, self._loop)
            self._delayed = data
        else:
            self._delayed += data
            if self._turn.is_quiet or self._writes > 2:
                self.flush()
        if len(self._delayed) > LONG_BYTES:
            self.flush()

    def write_eof(self) -> None:
        """Send everything, and then an end."""
        self.flush()
        self._connection.write_eof()

    def close(self) -> None:
        """Close the connection once all was sent."""
        self.flush()
        self._connection.close()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._connection.is_closing()

    def detach(self) -> Transport:
        """Send everything, and leave the connection to another protocol."""
        self.flush()
        return self._connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the connection knows, such as its `peername`."""
        return self._connection.get_extra_info(name, default)

    def end_turn(self) -> None:
        """Send what was written, and begin the next turn."""
        self._writes = 0
        self.flush()

    def flush(self) -> None:
        """Send what was written."""
        if self._delayed:
            delayed, self._delayed = self._delayed, b""
            if not self._connection.is_closing():  # else its client has left meanwhile
                self._connection.write(delayed)
