"""A fault between two services: a TCP proxy on 127.0.0.1 that delays, swallows, cuts off, refuses or talks rubbish.

It knows no protocol, so HTTP and gRPC fare alike. Its fault can be changed while it runs, and strikes the connections
that are open already with the next bytes on them.
"""

import asyncio
import random
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Thread

from pydantic_core import to_json

from tests.support.processes import free_port

CHUNK_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens between the two; as it stands, nothing.

    `delay_seconds`: what is sent, in either direction, arrives so much later. `refuse`: nothing listens, and what is
    open is reset. `swallow`: half-open, nothing ever arrives; on such a connection not even when the fault is over.
    `answer`: each request gets this, and the end. `cut_after`: so many bytes of an answer arrive, and then the end.
    `reset`: the end is an RST.
    """

    delay_seconds: float = 0.0
    refuse: bool = False
    swallow: bool = False
    answer: bytes | None = None
    cut_after: int | None = None
    reset: bool = False


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    """An answer in HTTP."""
    lines = [f"HTTP/1.1 {status} So", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode() + body


def probabilities(*values: float, columns: int = 10) -> bytes:
    """An answer of the Open Inference Protocol with this table of probabilities."""
    output = {"name": "probabilities", "datatype": "FP32", "shape": [len(values) // columns, columns], "data": values}
    document = {"model_name": "mlp", "model_version": "1", "outputs": [output]}
    return http(200, to_json(document, inf_nan_mode="constants"))


PASS = Fault()
REFUSE = Fault(refuse=True)
SWALLOW = Fault(swallow=True)
RESET = Fault(answer=b"", reset=True)
CUT = Fault(cut_after=60)
CUT_BY_RESET = Fault(cut_after=60, reset=True)
RANDOM = Fault(answer=random.Random(7).randbytes(5_000))
HTML = Fault(answer=http(200, b"<html>Welcome!</html>", "Content-Type: text/html"))
UNAVAILABLE = Fault(answer=http(503))
COME_LATER = Fault(answer=http(503, b"", "Retry-After: 1"))
ANOTHER_PROTOCOL = Fault(answer=http(200, b'{"digit": 7}'))
NAN = Fault(answer=probabilities(*[float("nan")] * 10))
NINE_CLASSES = Fault(answer=probabilities(*[1 / 9] * 9, columns=9))
TWO_ROWS = Fault(answer=probabilities(*[0.1] * 20))
SUM_OF_TWO = Fault(answer=probabilities(*[0.2] * 10))


class Link:
    """Listens on `port`; new connections go on to the port `to`. `connections` counts those that were accepted."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.port = free_port()
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._fault, self._once = PASS, False
        self._server: asyncio.Server | None = None
        self._open: set[StreamWriter] = set()
        self._silent: set[StreamWriter] = set()

    def set(self, fault: Fault, once: bool = False) -> None:
        """From now on, this happens; or once (an `answer`, a cut), and then nothing any more."""
        asyncio.run_coroutine_threadsafe(self._set(fault, once), self._loop).result(10)

    @contextmanager
    def running(self) -> Iterator["Link"]:
        """The same, in a thread of its own; everything passes at first."""
        thread = Thread(target=self._loop.run_forever)
        thread.start()
        try:
            self.set(PASS)
            yield self
        finally:
            self.set(REFUSE)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    @property
    def has_silenced(self) -> bool:
        """Whether there is a connection on which something was swallowed."""
        return bool(self._silent)

    async def _set(self, fault: Fault, once: bool) -> None:
        self._fault, self._once = fault, once
        if not fault.refuse and not self._server:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1_000)
        elif fault.refuse and self._server:
            self._server.close()
            self._server = None
            for asker in self._open:
                _reset(asker)
            while self._open:  # noqa: ASYNC110 - not for long: `set` would lose its patience
                await asyncio.sleep(0.005)

    async def _serve(self, reader: StreamReader, asker: StreamWriter) -> None:
        self.connections += 1
        self._open.add(asker)
        with suppress(OSError):
            await self._ask(reader, asker)
        _reset(asker)
        self._open.discard(asker)
        self._silent.discard(asker)

    async def _ask(self, reader: StreamReader, asker: StreamWriter) -> None:
        """Carry questions until the asker hangs up; the other side is called when the first bytes come."""
        other: StreamWriter | None = None
        try:
            while data := await reader.read(CHUNK_BYTES):
                if self._fault.answer is not None and asker not in self._silent:
                    self._last_words(asker, self._fault.answer)
                if self._is_silent(asker):
                    continue
                await asyncio.sleep(self._fault.delay_seconds)
                if other is None:
                    answers, other = await asyncio.open_connection("127.0.0.1", self.to)
                    answering = asyncio.create_task(self._answer(answers, asker))
                other.write(data)
        finally:
            if other:
                answering.cancel()
                other.close()

    async def _answer(self, reader: StreamReader, asker: StreamWriter) -> None:
        """Carry answers until the other side hangs up."""
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self._is_silent(asker):
                    continue
                await asyncio.sleep(self._fault.delay_seconds)
                if self._fault.cut_after is not None:
                    self._last_words(asker, data[: self._fault.cut_after])
                else:
                    asker.write(data)
        if asker not in self._silent:
            asker.close()

    def _is_silent(self, asker: StreamWriter) -> bool:
        """Whether nothing comes back on this connection any more."""
        if self._fault.swallow:
            self._silent.add(asker)
        return asker in self._silent

    def _last_words(self, asker: StreamWriter, data: bytes) -> None:
        self._silent.add(asker)
        asker.write(data)
        if self._fault.reset:
            _reset(asker)
        elif asker.can_write_eof():
            asker.write_eof()
        if self._once:
            self._fault, self._once = PASS, False


def _reset(writer: StreamWriter) -> None:
    """End a connection by an RST, if it has not ended."""
    if not writer.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
