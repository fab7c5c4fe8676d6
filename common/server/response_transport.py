"""Sends a response's headers together with the first part of its body: one system call and one packet instead of two.

uvicorn writes them one after the other, and uvloop hands each write to the kernel at once, which costs as much CPU as a
small model.
"""

from asyncio import AbstractEventLoop, Transport


class ResponseTransport(Transport):
    """The part of a connection's transport that writes responses; it delays a write to the end of the loop's turn."""

    __slots__ = ("_delayed", "_loop", "_transport")

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._delayed: bytes | None = None

    def write(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn has nothing but bytes
        """Send this together with the write before or after, if there is one in this turn of the loop."""
        if self._delayed is None:
            self._delayed = data
            self._loop.call_soon(self._flush)
        else:
            delayed, self._delayed = self._delayed, None
            self._transport.writelines((delayed, data))

    def close(self) -> None:
        """Close the connection once all was sent."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._delayed is not None:
            delayed, self._delayed = self._delayed, None
            self._transport.write(delayed)
