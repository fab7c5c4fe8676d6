"""The store: the scans of letters, in Redis, by an id. Every Redis command of this pattern is here.

A letter is one string: its scans one after another, 64 little-endian floats each. So a letter is written by one
command, which may be repeated, and a model gets just what it looks at: the first scan, or all. What cannot be had in
time is a 503; nothing is ever kept for longer than IMAGE_TTL_SECONDS.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Literal
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from common.backend import Caller, seconds_to_give
from common.digits import FEATURES
from common.errors import Problem
from common.service import Service
from microservice_vertical.settings import StoreSettings

FP32 = np.dtype("<f4")
SCAN_BYTES = FEATURES * FP32.itemsize
Scans = Literal["first", "all"]
LAST_BYTE: dict[Scans, int] = {"first": SCAN_BYTES - 1, "all": -1}


class ImageStore:
    """Keeps scans; its connections end with the app."""

    def __init__(self, app: Service, settings: StoreSettings) -> None:
        self._ttl = settings.image_ttl_seconds
        self._redis = Redis.from_url(
            settings.redis_url.get_secret_value(),
            socket_timeout=None,  # each call has a deadline of its own
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 1),
            max_connections=app.settings.max_concurrent_requests,
        )
        app.add_companion(self._open)

    async def put(self, scans: NDArray[np.float32], caller: Caller) -> UUID:
        """Keep scans of shape (n, 64), and give them an id; raises `Problem` 503."""
        image_id = uuid4()
        async with _within(caller):
            await self._redis.set(_key(image_id), scans.astype(FP32, copy=False).tobytes(), ex=self._ttl)
        return image_id

    async def get(self, image_id: UUID, scans: Scans, caller: Caller) -> NDArray[np.float32]:
        """Scans of shape (n, 64), or the first alone, shape (1, 64); raises `Problem`: 404, 503."""
        async with _within(caller):
            content: bytes = await self._redis.getrange(_key(image_id), 0, LAST_BYTE[scans])  # type: ignore[assignment]
        if not content or len(content) % SCAN_BYTES:  # nothing, or nothing of ours
            raise not_kept(image_id)
        return np.frombuffer(content, FP32).reshape(-1, FEATURES)

    async def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            return bool(await self._redis.ping())
        except RedisError:
            return False

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with self._redis:
            yield


def not_kept(image_id: UUID) -> Problem:
    """There is no such letter, or no more."""
    return Problem(404, f"image_id: {image_id} is not kept here: POST /images gives an id")


@asynccontextmanager
async def _within(caller: Caller) -> AsyncIterator[None]:
    """The caller's deadline holds, and is told how long the store took; whatever goes wrong is a 503."""
    started = monotonic()
    try:
        async with asyncio.timeout(seconds_to_give(caller.deadline)):
            yield
    except (RedisError, TimeoutError) as error:
        raise Problem(503, f"the store does not answer ({type(error).__name__})", {"Retry-After": "1"}) from None
    finally:
        caller.timings["store"] = monotonic() - started


def _key(image_id: UUID) -> str:
    return f"microservice_vertical:image:{image_id}"
