"""How long something takes when nothing disturbs it: the quickest of several repeats."""

import timeit
from collections.abc import Awaitable, Callable
from typing import NamedTuple

MANY = 32
"""Requests at once, where it matters."""
REPEATS = 7
REPEAT_SECONDS = 0.02


class Piece(NamedTuple):
    """Something that is done for `requests` requests at once, and its seconds for each of them."""

    name: str
    requests: int
    seconds: float


def alone(name: str, run: Callable[[], object], requests: int = 1) -> Piece:
    """Time a function."""
    number = timeit.Timer(run).autorange()[0] // 10 + 1  # autorange stops at 0.2 s
    return Piece(name, requests, min(timeit.repeat(run, repeat=REPEATS, number=number)) / number / requests)


async def in_loop(name: str, run: Callable[[], Awaitable[object]], requests: int = 1) -> Piece:
    """Time a coroutine function."""
    await run()
    number = int(REPEAT_SECONDS / await _seconds(run, 10)) * 10 + 1
    quickest = min([await _seconds(run, number) for _ in range(REPEATS)])
    return Piece(name, requests, quickest / number / requests)


async def _seconds(run: Callable[[], Awaitable[object]], number: int) -> float:
    started = timeit.default_timer()
    for _ in range(number):
        await run()
    return timeit.default_timer() - started
