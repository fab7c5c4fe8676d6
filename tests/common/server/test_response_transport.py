"""Responses of many connections are sent at the end of a loop's turn, each whatever happens to the others."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
import uvloop

from common.server.response_transport import LONG_BYTES, ResponseTransport

Connections = list[tuple[asyncio.Transport, asyncio.StreamReader]]


@asynccontextmanager
async def connected(count: int) -> AsyncIterator[Connections]:
    """Real connections: the server's end of each, and what its client receives."""
    accepted: asyncio.Queue[asyncio.Transport] = asyncio.Queue()

    class Accept(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.put_nowait(cast(asyncio.Transport, transport))

    server = await asyncio.get_running_loop().create_server(Accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clients, ends = [], []
    for _ in range(count):
        clients.append(await asyncio.open_connection("127.0.0.1", port))
        ends.append(await accepted.get())
    try:
        yield [(end, reader) for end, (reader, _) in zip(ends, clients, strict=True)]
    finally:
        for end, (_, writer) in zip(ends, clients, strict=True):
            end.abort()
            writer.close()
        server.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    """On the event loop that the services run on."""

    async def within_seconds() -> None:
        await asyncio.wait_for(test(), 10)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(within_seconds())


def test_a_connection_that_is_lost_holds_up_no_other_response() -> None:
    async def lose_one_of_two() -> None:
        loop = asyncio.get_running_loop()
        async with connected(2) as ((lost, reader_of_lost), (kept, reader)):
            lost.abort()
            await reader_of_lost.read()  # to the end: the connection is closed
            ResponseTransport(lost, loop).write(b"lost")
            ResponseTransport(kept, loop).write(b"kept")
            assert await reader.readexactly(4) == b"kept"

    run(lose_one_of_two)


@pytest.mark.parametrize(
    "end",
    [ResponseTransport.close, ResponseTransport.write_eof, lambda transport: transport.detach().close()],
    ids=["close", "write_eof", "detach"],
)
def test_what_was_written_is_sent_before_the_connection_ends(end: Callable[[ResponseTransport], object]) -> None:
    async def end_in_the_turn_of_the_write() -> None:
        async with connected(1) as ((transport, reader),):
            response = ResponseTransport(transport, asyncio.get_running_loop())
            response.write(b"headers alone")  # in quiet times, a body would send both
            end(response)
            assert await reader.read() == b"headers alone"

    run(end_in_the_turn_of_the_write)


def test_a_client_that_reads_slowly_stops_a_handler_that_writes_much_in_one_turn() -> None:
    async def write_without_a_pause() -> None:
        async with connected(1) as ((transport, reader),):
            response = ResponseTransport(transport, asyncio.get_running_loop())
            pieces = [bytes([number]) * LONG_BYTES for number in range(200)]
            for piece in pieces:
                response.write(piece[:10])
                response.write(piece[10:])
            assert transport.get_write_buffer_size() > LONG_BYTES  # so uvicorn waits
            assert await reader.readexactly(sum(map(len, pieces))) == b"".join(pieces)

    run(write_without_a_pause)


@pytest.mark.parametrize("connections", [1, 2], ids=["quiet", "busy"])
def test_the_pieces_of_a_stream_leave_while_its_handler_blocks_the_loop(connections: int) -> None:
    async def write_and_read_in_one_turn() -> None:
        loop = asyncio.get_running_loop()
        async with connected(connections) as ends:
            for transport, _ in ends:  # the turn that says how busy the next one is
                ResponseTransport(transport, loop).write(b"-")
            for _, reader in ends:
                await reader.readexactly(1)
            server, client = socket.socketpair()
            with client:
                client.settimeout(5)
                transport, _ = await loop.create_connection(asyncio.Protocol, sock=server)
                stream = ResponseTransport(transport, loop)
                stream.write(b"headers, ")
                for piece in (b"one, ", b"two, ", b"three"):
                    stream.write(piece)
                    if piece != b"one, ":  # which a busy turn may keep with the headers
                        assert client.recv(100).endswith(piece)
                transport.abort()

    run(write_and_read_in_one_turn)
