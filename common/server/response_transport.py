"""Sends a response's headers together with the first part of its body: one system call and one packet instead of two.

uvicorn writes them one after the other, and uvloop hands each write to the kernel at once, which costs as much CPU as a
small model.
"""

from asyncio import AbstractEventLoop, Transport
from weakref import WeakKeyDictionary

_waiting: "WeakKeyDictionary[AbstractEventLoop, list[ResponseTransport]]" = WeakKeyDictionary()
"""What holds a write back in this turn, by event loop: one callback for all of them costs less than one for each."""


class ResponseTransport(Transport):
    """The part of a connection's transport that writes responses; it delays a write to the end of the loop's turn."""

    __slots__ = ("_delayed", "_loop", "_transport", "_waiting")

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._waiting = _waiting.setdefault(loop, [])
        self._delayed = b""

    def write(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn has nothing but bytes
        """Send this together with the write before or after, if there is one in this turn of the loop."""
        if self._delayed:
            delayed, self._delayed = self._delayed, b""
            self._transport.write(b"".join((delayed, data)))
            return
        self._delayed = data
        if not self._waiting:
            self._loop.call_soon(self._flush_all)
        self._waiting.append(self)

    def close(self) -> None:
        """Close the connection once all was sent."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def _flush_all(self) -> None:
        transports = self._waiting.copy()
        self._waiting.clear()
        for transport in transports:
            transport._flush()

    def _flush(self) -> None:
        if self._delayed:
            delayed, self._delayed = self._delayed, b""
            if not self._transport.is_closing():  # else its client has left meanwhile
                self._transport.write(delayed)
