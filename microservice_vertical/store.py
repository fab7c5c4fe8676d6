"""The store: the scans of letters, in Redis, by an id. Every Redis command of this pattern is here.

A letter is one string: its scans one after another, 64 little-endian floats each. So a letter is written by one
command, which may be repeated, and a model gets just what it looks at: the first scan, or all. What cannot be had in
time is a 503; nothing is ever kept for longer than IMAGE_TTL_SECONDS.
"""

from typing import Literal
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

from common.backend import Caller
from common.digits import FEATURES
from common.errors import Problem
from common.redis import answers, connect, within
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
        self._redis = connect(app, settings.redis_url)

    async def put(self, scans: NDArray[np.float32], caller: Caller) -> UUID:
        """Keep scans of shape (n, 64), and give them an id; raises `Problem` 503."""
        image_id = uuid4()
        async with within(caller, "store"):
            await self._redis.set(_key(image_id), scans.astype(FP32, copy=False).tobytes(), ex=self._ttl)
        return image_id

    async def get(self, image_id: UUID, scans: Scans, caller: Caller) -> NDArray[np.float32]:
        """Scans of shape (n, 64), or the first alone, shape (1, 64); raises `Problem`: 404, 503."""
        async with within(caller, "store"):
            content: bytes = await self._redis.getrange(_key(image_id), 0, LAST_BYTE[scans])  # type: ignore[assignment]
        if not content or len(content) % SCAN_BYTES:  # nothing, or nothing of ours
            raise not_kept(image_id)
        return np.frombuffer(content, FP32).reshape(-1, FEATURES)

    async def is_ready(self) -> bool:
        """Whether it answers."""
        return await answers(self._redis)


def not_kept(image_id: UUID) -> Problem:
    """There is no such letter, or no more."""
    return Problem(404, f"image_id: {image_id} is not kept here: POST /images gives an id")


def _key(image_id: UUID) -> str:
    return f"microservice_vertical:image:{image_id}"
