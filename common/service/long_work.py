"""Reads and writes long bodies in a thread, one at a time, so that the event loop goes on with other requests.

Parsing JSON holds Python's lock from its beginning to its end, so the event loop still waits for one such step, but
never for those of several requests in a row.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple, Unpack

LONG_BYTES = 64 * 2**10
"""What is shorter takes about a millisecond at most; handing it to the thread would cost more than it saves."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_thread = ThreadPoolExecutor(1, "long-body")


async def in_thread_if_long(size: int, function: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
    """`function(*args)`, which reads or writes `size` bytes."""
    if size < LONG_BYTES:
        return function(*args)
    return await asyncio.get_running_loop().run_in_executor(_thread, function, *args)
