"""The load over gRPC, which wrk does not speak.

`python -m benchmarks.support.load.grpc URL CONNECTIONS SECONDS BODY_IN_HEX`

As wrk does, it sends the same bytes over and over, one call at a time on each connection, and does not look into the
answers. It ends with the line of JSON that predict.lua writes too.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from time import perf_counter
from urllib.parse import urlsplit

import grpc
import uvloop

OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
"""A connection for each channel; else all channels to one address would share one."""
TIMEOUT_SECONDS = 10.0

Call = Callable[..., Awaitable[bytes]]
"""A method of the server, on one of the connections."""


async def load(url: str, connections: int, seconds: float, body: bytes) -> dict[str, object]:
    """Open the connections, call for some seconds, and give the figures."""
    address = urlsplit(url)
    milliseconds: list[float] = []
    errors: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        channels = [grpc.aio.insecure_channel(address.netloc, OPTIONS) for _ in range(connections)]
        for channel in channels:
            await stack.enter_async_context(channel)
            await asyncio.wait_for(channel.channel_ready(), TIMEOUT_SECONDS)
        calls: list[Call] = [channel.unary_unary(address.path) for channel in channels]
        started = perf_counter()
        await asyncio.gather(*[ask(call, body, started + seconds, milliseconds, errors) for call in calls])
        elapsed = perf_counter() - started
    milliseconds.sort()
    last = len(milliseconds) - 1
    p50, p99, longest = (milliseconds[round(last * share)] if milliseconds else 0.0 for share in (0.5, 0.99, 1))
    figures = {"p50_ms": p50, "p99_ms": p99, "max_ms": longest, "errors": errors}
    return {"requests": len(milliseconds), "seconds": elapsed} | figures


async def ask(
    call: Call,
    body: bytes,
    end: float,
    milliseconds: list[float],
    errors: Counter[str],
) -> None:
    """One connection: as soon as an answer is here, ask again."""
    while (sent := perf_counter()) < end:
        try:
            await call(body, timeout=TIMEOUT_SECONDS)
            milliseconds.append((perf_counter() - sent) * 1e3)
        except grpc.aio.AioRpcError as error:
            errors[error.code().name] += 1


if __name__ == "__main__":
    url, connections, seconds, body = sys.argv[1:]
    print(json.dumps(uvloop.run(load(url, int(connections), float(seconds), bytes.fromhex(body)))))
