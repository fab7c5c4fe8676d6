"""Reads a request's body: whole, inflated, bounded in size and in time."""

import asyncio
from time import monotonic

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Message

from common.service.body.compression import inflate
from common.service.problems import Problem
from common.service.request_context import RequestContext, header, poll, request_context

DISCARD_BYTES = 32 * 2**20
"""How much of a body that is too long is read all the same: a client that is still sending misses an early answer."""


async def read_body(request: Request) -> bytes:
    """The whole body, of at most MAX_BODY_BYTES; one that came as gzip or deflate is inflated.

    Raises `Problem` 413 (too long), 408 (not here by the request's deadline), 400 (damaged) or 415 (another encoding),
    and `ClientDisconnect`.
    """
    context = request_context(request)
    was_read = hasattr(request, "_body") or request._stream_consumed  # by a dependency
    # Nearly always the body is here already, and a timer would cost more than reading it. Only a server may be polled.
    message = poll(request.receive) if request.receive is context.receive and not was_read else None
    if message and message["type"] == "http.request" and not message.get("more_body"):
        body = bytes(message.get("body", b""))
    elif was_read:
        body = await request.body()  # which Starlette has kept
    else:
        body = await _read_in_time(request, context, message)
    if len(body) > context.max_body_bytes:
        # Without closing, the server would go on reading a body without end behind the answer.
        close = {"Connection": "close"}
        raise Problem(
            413, f"expected a body of at most {context.max_body_bytes} bytes (MAX_BODY_BYTES): send less", close
        )
    if encoding := header(request, b"content-encoding"):
        body = await asyncio.to_thread(inflate, body, encoding.lower(), context.max_body_bytes)
    return body


async def _read_in_time(request: Request, context: RequestContext, message: Message | None) -> bytes:
    """The body, or its first `max_body_bytes` and one more; `message` is what of it has been read already."""
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(context.deadline - monotonic()):
            message = message or await request.receive()
            while message["type"] == "http.request":
                chunk = message.get("body", b"")
                size += len(chunk)
                body += chunk[: context.max_body_bytes + 1 - len(body)]
                if not message.get("more_body") or size > DISCARD_BYTES:
                    return bytes(body)
                message = await request.receive()
    except TimeoutError:
        raise Problem(408, "the request's body did not arrive before its deadline") from None
    raise ClientDisconnect
