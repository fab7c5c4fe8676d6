"""Delayed writes of many connections are sent in one turn of the event loop, each whatever happens to the others."""

import asyncio
from typing import cast

import uvloop

from common.server.response_transport import ResponseTransport


async def two_connections_of_which_one_is_lost() -> bytes:
    """What the client of the second connection receives."""
    accepted: asyncio.Queue[asyncio.Transport] = asyncio.Queue()

    class Accept(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.put_nowait(cast(asyncio.Transport, transport))

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    lost, kept = await accepted.get(), await accepted.get()
    try:
        lost.abort()
        await clients[0][0].read()  # to the end: the connection is closed
        ResponseTransport(lost, loop).write(b"lost")
        ResponseTransport(kept, loop).write(b"kept")
        return await asyncio.wait_for(clients[1][0].readexactly(4), 10)
    finally:
        kept.abort()
        for _, writer in clients:
            writer.close()
        server.close()


def test_a_connection_that_is_lost_holds_up_no_other_response() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(two_connections_of_which_one_is_lost()) == b"kept"
