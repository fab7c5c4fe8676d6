"""The caller's deadline: how much of the time left a call to something else may use.

`middleware.py` sets it. What a request waits for enforces it: the decoding of its body here (`before_deadline`), a
batch in `common/inference/batcher.py`, another service in `common/backends/backend.py`, Redis in
`common/jobs/redis_connection.py`, the body's arrival in `body/reading.py`.
"""

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import Protocol, TypeVar

from common.service.problems import Problem

T = TypeVar("T")

DECODE_SECONDS = 0.1
"""How long decoding may take in any case: what a caller falls back to without a model needs the item, too."""
RESERVE_SHARE = 0.1
RESERVE_SECONDS = 0.05
"""The share of the time left that a call may not use, and its upper limit: we need it to answer our own client."""


class Caller(Protocol):
    """The request for which work is done.

    `deadline` is a `time.monotonic()`, `timings` becomes Server-Timing, `log` becomes part of the request's log line.
    """

    deadline: float
    timings: dict[str, float]
    log: dict[str, object]


async def before_deadline(deadline: float, work: Awaitable[T]) -> T:
    """The result of `work`, which decodes in a thread. At the deadline it is cancelled: `Problem` 504."""
    try:
        async with asyncio.timeout(max(DECODE_SECONDS, deadline - monotonic())):
            return await work
    except TimeoutError:
        raise Problem(504, "the deadline passed before the request was decoded") from None
    finally:
        del work  # it holds its error, whose traceback holds this frame: only the collector would free them


def remaining_timeout(deadline: float) -> float:
    """How many seconds a call to something else may take, so that our client gets an answer by `deadline`."""
    left = deadline - monotonic()
    return left - min(left * RESERVE_SHARE, RESERVE_SECONDS)
