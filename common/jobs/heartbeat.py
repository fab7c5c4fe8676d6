"""The heartbeat: renews the leases on a batch while it is processed, so that a job may take longer than one lease."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager

from common.jobs.redis_connection import REDIS_UNAVAILABLE

logger = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 4
MAX_PAUSE_SECONDS = 2.5
"""A process that is silent for longer counts as dead with those who count predictors, however long its leases are."""

Renew = Callable[[Sequence[bytes]], Awaitable[Collection[bytes]]]
"""Renews the leases of these entries, and returns the entries that were lost."""


@asynccontextmanager
async def renewing_leases(renew: Renew, entries: Iterable[bytes], lease_seconds: float) -> AsyncIterator[None]:
    """Renew the leases of these entries as long as the block runs; a lost entry is not renewed again."""
    seconds = min(lease_seconds / RENEWALS_PER_LEASE, MAX_PAUSE_SECONDS)
    task = asyncio.create_task(_renew_until_cancelled(renew, set(entries), seconds))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _renew_until_cancelled(renew: Renew, held: set[bytes], seconds: float) -> None:
    while held:
        await asyncio.sleep(seconds)
        try:
            held.difference_update(await renew(list(held)))
        except REDIS_UNAVAILABLE as error:
            logger.warning("leases were not renewed: %s", error)
