"""Wakes requests that wait for a job when its status changes. One subscription serves all of them in this process.

A message says only that a job has changed; its state is read from the job. So a message that is lost while Redis is
away costs time and nothing else: every waiting request reads its job again when the connection is back.
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

from common.jobs.redis_connection import REDIS_UNAVAILABLE
from common.service.service import Service

logger = logging.getLogger(__name__)

Job = TypeVar("Job")
POLL_SECONDS = 1.0
"""How often a job is read without a message: for the end of this process, and for a lost message."""
PAUSE_SECONDS = 0.2
LISTEN_SECONDS = 2.0


class JobSubscription:
    """Listens on a channel while the app runs; a message is lines, each a job's id, a space and what has changed.

    At most `max_waiting` requests should wait, and half of all requests: those that submit a job need places too.
    """

    def __init__(self, app: Service, redis: Redis, channel: str, max_waiting: int) -> None:
        self._redis = redis
        self._process = app.process
        self._channel = channel
        self._free_places = min(max_waiting, max(1, app.settings.max_concurrent_requests // 2))
        self._waiting: defaultdict[bytes, set[asyncio.Event]] = defaultdict(set)
        app.add_lifespan(self._subscription)

    @property
    def is_full(self) -> bool:
        """Whether no further request should wait."""
        return self._free_places <= 0

    async def states(
        self, job_id: str, fetch: Callable[[str], Awaitable[Job]], has_ended: Callable[[Job], bool], seconds: float
    ) -> AsyncIterator[Job]:
        """The job from `fetch`, now and after each change, until it has ended or so many seconds have passed.

        Close it when the client has left. It also stops when the service shuts down. While Redis does not answer,
        nothing is yielded and `fetch` is repeated.
        """
        end = monotonic() + seconds
        with self._changes_of(job_id) as changed:
            while True:
                changed.clear()
                job = await _fetch(fetch, job_id)
                if job is not None:
                    yield job
                left = end - monotonic()
                if (job is not None and has_ended(job)) or left <= 0 or self._process.draining:
                    return
                await _wait(changed, min(left, POLL_SECONDS))

    @contextmanager
    def _changes_of(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when this job changes."""
        key, changed = job_id.encode(), asyncio.Event()
        self._waiting[key].add(changed)
        self._free_places -= 1
        try:
            yield changed
        finally:
            self._free_places += 1
            self._waiting[key].discard(changed)
            if not self._waiting[key]:
                del self._waiting[key]

    @asynccontextmanager
    async def _subscription(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            while not task.done():  # redis-py loses a cancellation while it connects
                task.cancel()
                await asyncio.wait([task], timeout=PAUSE_SECONDS)

    async def _listen(self) -> None:
        warned = False
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(self._channel)
                    while True:
                        await self._receive(channel)
                        warned = False
            except REDIS_UNAVAILABLE as error:
                if not warned:
                    logger.warning("changes of jobs are not received: %s", error)
                warned = True
            await asyncio.sleep(PAUSE_SECONDS)

    async def _receive(self, channel: PubSub) -> None:
        """Handle the next message; if there is none, send a PING, since a dead connection is silent too."""
        if channel.connection and channel.connection.should_reconnect():
            raise RedisConnectionError("the server is no longer the primary")
        message = await channel.get_message(timeout=LISTEN_SECONDS)
        if message is None:
            await channel.ping()
            message = await channel.get_message(timeout=LISTEN_SECONDS)
        if message is None:
            raise RedisConnectionError("no reply on the subscription")
        self._wake(message)

    def _wake(self, message: dict[str, object]) -> None:
        data = message["data"]
        if not isinstance(data, bytes):  # subscribed, perhaps again: messages in between were lost
            jobs = list(self._waiting)
        else:
            jobs = [line.partition(b" ")[0] for line in data.splitlines()]
        for job in jobs:
            for changed in self._waiting.get(job, ()):
                changed.set()


async def _fetch(fetch: Callable[[str], Awaitable[Job]], job_id: str) -> Job | None:
    try:
        async with asyncio.timeout(POLL_SECONDS):
            return await fetch(job_id)
    except REDIS_UNAVAILABLE:
        return None


async def _wait(changed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        pass
