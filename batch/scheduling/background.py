"""Calls a blocking function again and again in a thread while the app runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from common.service.service import Service

logger = logging.getLogger(__name__)


def add_background_thread(
    app: Service, tick: Callable[[], None], stop: Callable[[], None], interval_seconds: float
) -> None:
    """Call `tick` every `interval_seconds` until the app shuts down, then `stop` once. A tick that fails is logged."""
    stopping = asyncio.Event()

    async def work() -> None:
        while not (stopping.is_set() or app.process.draining):
            try:
                await asyncio.to_thread(tick)
            except Exception:
                logger.exception("a tick failed, the next one tries again")
            try:
                async with asyncio.timeout(interval_seconds):
                    await stopping.wait()
            except TimeoutError:
                pass
        await asyncio.to_thread(stop)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        task = asyncio.create_task(work())
        try:
            yield
        finally:
            stopping.set()
            await task

    app.add_lifespan(running)
