"""Who waits for a job is woken when its state changes: one subscription serves all who wait in this process.

What is told is only that something has changed; the state is read from the job. So a message that is lost, while Redis
is away, costs time and nothing else: all who wait look again when the connection is back.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import TypeVar

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError

from common.jobs.redis_connection import AWAY
from common.service.service import Service

logger = logging.getLogger(__name__)

Job = TypeVar("Job")
LOOK_AGAIN_SECONDS = 1.0
"""The longest wait without a look: for the end of this process, and for a change that was not told."""
PAUSE_SECONDS = 0.2
LISTEN_SECONDS = 2.0


class Watch:
    """Listens on a channel while the app runs; a message there is lines, each a job's id, a space and whatever."""

    def __init__(self, app: Service, redis: Redis, channel: str) -> None:
        self._redis = redis
        self._process = app.process
        self._channel = channel
        self._waiting: defaultdict[bytes, set[asyncio.Event]] = defaultdict(set)
        app.add_lifespan(self._listening)

    async def follow(
        self, job_id: str, look: Callable[[str], Awaitable[Job]], is_over: Callable[[Job], bool], seconds: float
    ) -> AsyncIterator[Job]:
        """What `look` gives of a job, at once and after each change: until it is over, or so many seconds are.

        It also ends when the app drains. A look that Redis does not answer is none, and the next is the second try.
        """
        end = monotonic() + seconds
        with self._on(job_id) as changed:
            while True:
                changed.clear()
                job = await _looked(look, job_id)
                if job is not None:
                    yield job
                left = end - monotonic()
                if (job is not None and is_over(job)) or left <= 0 or self._process.draining:
                    return
                await _wait(changed, min(left, LOOK_AGAIN_SECONDS))

    @contextmanager
    def _on(self, job_id: str) -> Iterator[asyncio.Event]:
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
                        await self._hear(channel)
                        told = False
            except AWAY as error:
                if not told:
                    logger.warning("changes of jobs are not told: %s", error)
                told = True
            await asyncio.sleep(PAUSE_SECONDS)

    async def _hear(self, channel: PubSub) -> None:
        """What is told next; where nothing is, ask for a sign of life, since a dead connection is silent, too."""
        message = await channel.get_message(timeout=LISTEN_SECONDS)
        if message is None:
            await channel.ping()
            message = await channel.get_message(timeout=LISTEN_SECONDS)
        if message is None:
            raise RedisConnectionError("the subscription fell silent")
        self._wake(message)

    def _wake(self, message: dict[str, object]) -> None:
        data = message["data"]
        if not isinstance(data, bytes):  # subscribed, perhaps once more: what was told meanwhile was missed
            jobs = list(self._waiting)
        else:
            jobs = [line.partition(b" ")[0] for line in data.splitlines()]
        for job in jobs:
            for changed in self._waiting.get(job, ()):
                changed.set()


async def _looked(look: Callable[[str], Awaitable[Job]], job_id: str) -> Job | None:
    try:
        async with asyncio.timeout(LOOK_AGAIN_SECONDS):
            return await look(job_id)
    except AWAY:
        return None


async def _wait(changed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        pass
