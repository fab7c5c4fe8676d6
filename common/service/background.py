"""Work that goes on while a service runs: a loop whose every iteration may fail without ending it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from common.service.service import Service

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
"""After an iteration that failed."""


def add_background_loop(
    app: Service,
    tick: Callable[[], Awaitable[object]],
    name: str,
    unavailable: tuple[type[Exception], ...] = (),
    *,
    interval_seconds: float = 0,
    at_end: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Call `tick` every `interval_seconds` until the service shuts down, then `at_end`. The last call is completed.

    A call takes a second or so at most. One that fails is logged; the next call is the retry. While calls raise
    `unavailable` (what they need does not answer), the log says so once, and once more when it answers again.
    """

    async def run(ending: asyncio.Event) -> None:
        is_unavailable = False
        while not (app.process.draining or ending.is_set()):
            pause = interval_seconds
            try:
                await tick()
            except unavailable as error:
                if not is_unavailable:
                    logger.warning("%s: unavailable, and tried again: %s", name, error)
                is_unavailable = True
                pause = PAUSE_SECONDS
            except Exception:
                logger.exception("%s: an iteration failed", name)
                pause = PAUSE_SECONDS
            else:
                if is_unavailable:
                    logger.warning("%s: available again", name)
                is_unavailable = False
            if pause:
                await _wait(ending, pause)
        if at_end:
            await at_end()

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        ending = asyncio.Event()
        task = asyncio.create_task(run(ending))
        try:
            yield
        finally:
            ending.set()
            await task

    app.add_lifespan(running)


def add_background_thread(
    app: Service, tick: Callable[[], object], name: str, interval_seconds: float, at_end: Callable[[], object]
) -> None:
    """The same for functions that block: they run in a thread."""
    tick_in_thread, end_in_thread = partial(asyncio.to_thread, tick), partial(asyncio.to_thread, at_end)
    add_background_loop(app, tick_in_thread, name, interval_seconds=interval_seconds, at_end=end_in_thread)


async def _wait(ending: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await ending.wait()
    except TimeoutError:
        pass
