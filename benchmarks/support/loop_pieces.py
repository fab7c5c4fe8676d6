"""The pieces that need an event loop: thread hops, batching, the log line of a request, and whole applications."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import numpy as np
from starlette.types import ASGIApp, Message, Scope

from benchmarks.apps import constant, minimal
from benchmarks.support.load.questions import PICTURE
from benchmarks.support.stopwatch import MANY, Piece, in_loop
from common.domain.digits import FEATURES
from common.inference.batcher import Batcher
from common.telemetry.access_log import AccessLog, RequestRecord
from common.telemetry.metrics import ServiceMetrics
from common.telemetry.tracing import begin_span
from web_single import predictor

SCOPE: Scope = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "server": ("127.0.0.1", 8001),
    "client": ("127.0.0.1", 40000),
    "scheme": "http",
    "method": "POST",
    "root_path": "",
    "path": "/predict",
    "raw_path": b"/predict",
    "query_string": b"",
    "headers": [
        (b"host", b"127.0.0.1:8001"),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(PICTURE)),
    ],
}
BODY: Message = {"type": "http.request", "body": PICTURE.encode(), "more_body": False}


async def loop_pieces() -> list[Piece]:
    """Time them all."""
    access_log = AccessLog(ServiceMetrics(), "INFO")
    request = RequestRecord(time.time(), 1e-3, begin_span(), "POST", "/predict", "/predict", 200)
    batcher = Batcher(lambda inputs: inputs, max_batch_rows=MANY, max_queue_rows=MANY, inline_elements=np.inf)
    row = {"features": np.ones((1, FEATURES), np.float32)}

    async def note() -> None:
        access_log.add(request)

    async def submit() -> None:
        await batcher.submit(row, 1, time.monotonic() + 2)

    return [
        await in_loop("a turn of the event loop", lambda: asyncio.sleep(0)),
        await in_loop("a hop to a thread and back", lambda: asyncio.to_thread(int)),
        *await one_and_many("metrics and log line: access_log.py", note),
        *await one_and_many("batching without the inference: batcher.py", submit),
        *await one_and_many("all of the constant app, without uvicorn", partial(call, constant.create_app())),
        *await one_and_many("all of the minimal app, without uvicorn", partial(call, minimal.create_app())),
        *await one_and_many("all of ours, without uvicorn", partial(call, predictor.create_app())),
    ]


async def one_and_many(name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> list[Piece]:
    """Time it for one request and for many at once; what they leave for the next turn of the loop is counted too."""
    return [await in_loop(name, partial(in_tasks, run, requests), requests) for requests in (1, MANY)]


async def in_tasks(run: Callable[[], Coroutine[Any, Any, None]], requests: int) -> None:
    """Run it as a server does, each in a task of its own."""
    await asyncio.gather(*[run() for _ in range(requests)])
    await asyncio.sleep(0)


async def call(app: ASGIApp) -> None:
    """One request to an ASGI application, as a server makes it."""
    await app(dict(SCOPE), receive, send)


async def receive() -> Message:
    """The request's body, which is here already."""
    return BODY


async def send(message: Message) -> None:
    """Take the answer, which must be a good one."""
    if message.get("status", 200) != 200:
        raise RuntimeError(f"an application refuses the picture: {message}")
