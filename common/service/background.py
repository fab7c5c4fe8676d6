"""Work that goes on while a service runs: one round after another, whatever happens in one."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from common.service.service import Service

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
"""After a round that failed."""


def repeat(
    app: Service,
    round_: Callable[[], Awaitable[object]],
    name: str,
    unavailable: tuple[type[Exception], ...] = (),
) -> None:
    """While the app runs and does not drain, have rounds of work done; the one that is begun at the end is finished.

    A round ends by itself, within a second or so. One that fails is logged, and the next is the second try.
    The exceptions in `unavailable` (a store that is down) are logged in one line, without a traceback.
    """

    async def work() -> None:
        while not (app.process.draining or ending.is_set()):
            try:
                await round_()
            except unavailable as error:
                logger.warning("%s: unavailable: %s", name, error)
                await _pause(ending)
            except Exception:
                logger.exception("%s: a round failed", name)
                await _pause(ending)

    ending = asyncio.Event()

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        task = asyncio.create_task(work())
        try:
            yield
        finally:
            ending.set()
            await task

    app.add_lifespan(running)


async def _pause(ending: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(PAUSE_SECONDS):
            await ending.wait()
    except TimeoutError:
        pass
