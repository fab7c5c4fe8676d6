"""The pictures in a request's body, decoded: PNG, JPEG, or JSON. Of what is no picture the caller is told why."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from common.domain import digits
from common.inference.cpu_quota import cpu_quota
from common.service.problems import Problem
from common.service.request_context import media_type, request_context

IMAGES = ("image/png", "image/jpeg")


class PictureDecoder:
    """Decodes images of at most `max_pixels` pixels, and lists of at most `max_pictures` pictures."""

    def __init__(self, max_pixels: int, max_pictures: int) -> None:
        self._max_pixels = max_pixels
        self._max_pictures = max_pictures
        self._threads = ThreadPoolExecutor(cpu_quota(), "decode")

    async def decode(self, request: Request, body: bytes) -> tuple[NDArray[np.float32], bool]:
        """Features of shape (n, 64), 0 to 16, and whether they came as a list.

        Raises `Problem`: 415 (another Content-Type), and what `digits.from_json` and `digits.from_image` raise.
        """
        started = monotonic()
        features, many = await self._features(media_type(request), body)
        request_context(request).timings["decode"] = monotonic() - started
        return features, many

    async def decode_one(self, request: Request, body: bytes) -> NDArray[np.float32]:
        """The features of one picture, shape (1, 64); a list is a `Problem` too (422)."""
        if media_type(request) == "application/json" and body.lstrip().startswith(b"["):
            raise Problem(422, f"body: got a list; {digits.EXPECTED}")
        features, _ = await self.decode(request, body)
        return features

    async def _features(self, content_type: str, body: bytes) -> tuple[NDArray[np.float32], bool]:
        """An image takes a while to decode, so a thread does it."""
        if content_type == "application/json":
            return digits.from_json(body, self._max_pictures)
        if content_type not in IMAGES:
            got = repr(content_type) if content_type else "none"
            raise Problem(415, f"Content-Type: expected application/json, {' or '.join(IMAGES)}, got {got}")
        loop = asyncio.get_running_loop()
        features = await loop.run_in_executor(self._threads, digits.from_image, body, self._max_pixels)
        return features[np.newaxis], False
