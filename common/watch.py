"""Who waits for a job is woken when its state changes: one subscription serves all who wait in this process.

What is told is only that something has changed; the state is read from the job. So a message that is lost, while Redis
is away, costs time and nothing else: all who wait look again when the connection is back.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from redis.asyncio import Redis

from common.redis import AWAY
from common.service import Service

logger = logging.getLogger(__name__)
PAUSE_SECONDS = 0.2
LISTEN_SECONDS = 2.0


class Watch:
    """Listens on a channel while the app runs; a message there is lines, each a job's id, a space and whatever."""

    def __init__(self, app: Service, redis: Redis, channel: str) -> None:
        self._redis = redis
        self._channel = channel
        self._waiting: defaultdict[bytes, set[asyncio.Event]] = defaultdict(set)
        app.add_companion(self._listening)

    @contextmanager
    def on(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when this job changes."""
        key, changed = job_id.encode(), asyncio.Event()
        self._waiting[key].add(changed)
        try:
            yield changed
        finally:
            self._waiting[key].discard(changed)
            if not self._waiting[key]:
                del self._waiting[key]

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _listen(self) -> None:
        told = False
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(self._channel)
                    while True:
                        if message := await channel.get_message(timeout=LISTEN_SECONDS):
                            self._wake(message)
                        told = False
            except AWAY as error:
                if not told:
                    logger.warning("changes of jobs are not told: %s", error)
                told = True
            await asyncio.sleep(PAUSE_SECONDS)

    def _wake(self, message: dict[str, object]) -> None:
        data = message["data"]
        if not isinstance(data, bytes):  # subscribed, perhaps once more: what was told meanwhile was missed
            jobs = list(self._waiting)
        else:
            jobs = [line.partition(b" ")[0] for line in data.splitlines()]
        for job in jobs:
            for changed in self._waiting.get(job, ()):
                changed.set()


async def wait_for(told: asyncio.Event, seconds: float) -> None:
    """Until it is told, but no longer than so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await told.wait()
    except TimeoutError:
        pass
