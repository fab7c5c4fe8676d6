"""Reading a request's body: whole, not too long, and not for ever."""

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import Any, cast

from starlette.types import Message, Receive

from common.service.problems import ClientLeft, Problem

DISCARD_BYTES = 16 * 2**20
"""How much of a body that is too long is read all the same: a client that still sends does not see an early answer."""


async def read_body(receive: Receive, deadline: float, max_bytes: int) -> bytes:
    """The whole body; `deadline` is a `time.monotonic()`.

    Raises `Problem` 413 (longer than `max_bytes`) or 408 (not here by the deadline), and `ClientLeft`.
    """
    message = poll(receive)
    if message and message["type"] == "http.request" and not message.get("more_body"):
        body = message.get("body", b"")  # nearly always: it is here already, and a timer would cost more than this
    else:
        try:
            async with asyncio.timeout(deadline - monotonic()):
                body = await _read_on(message or await receive(), receive, max_bytes)
        except TimeoutError:
            raise Problem(408, "the request's body did not arrive before its deadline") from None
    if len(body) > max_bytes:
        # A body without end would otherwise be read on behind the answer.
        close = {"Connection": "close"}
        raise Problem(413, f"expected a body of at most {max_bytes} bytes: send a smaller one", close)
    return bytes(body)


async def _read_on(message: Message, receive: Receive, max_bytes: int) -> bytearray:
    """The body, or its first `max_bytes` and one more."""
    body = bytearray()
    size = 0
    while message["type"] == "http.request":
        chunk = message.get("body", b"")
        size += len(chunk)
        body += chunk[: max_bytes + 1 - len(body)]
        if not message.get("more_body") or size > DISCARD_BYTES:
            return body
        message = await receive()
    raise ClientLeft


def poll(receive: Receive) -> Message | None:
    """What the server has for us at this moment, without waiting for more."""
    waiting = cast(Coroutine[Any, Any, Message], receive())
    try:
        waiting.send(None)
    except StopIteration as done:
        return cast(Message, done.value)
    waiting.close()
    return None
