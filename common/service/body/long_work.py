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


def in_thread(function: Callable[[Unpack[Ts]], T], *args: *Ts) -> "asyncio.Future[T]":
    """`function(*args)`, which reads or writes `LONG_BYTES` or more."""
    return asyncio.get_running_loop().run_in_executor(_thread, function, *args)
