"""The store: the scans of letters, in Redis, by an id. Every Redis command that concerns them is here.

A letter is one string: its scans one after another, as rows of the domain (`prediction/payload.py`). So one command
writes a letter, and may be repeated. A model loads only what it reads: the first scan, or all. If the store does not
answer in time, that is a 503. Letters expire after IMAGE_TTL_SECONDS.
"""

from typing import Literal, Self
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from common.jobs.redis_check import can_write
from common.jobs.redis_connection import connect, redis_deadline
from common.prediction.payload import ROW_BYTES, Rows, to_payload, to_rows
from common.service.deadline import Caller
from common.service.problems import Problem
from common.service.service import Service
from common.store.settings import StoreSettings

Scans = Literal["first", "all"]
EXPECTED = 'expected {"image_id": "…"} as POST /images answers'
MAX_ID_BYTES = 2**17
"""A longer body names no stored letter. It is not parsed, only to find that out, on the event loop."""
LAST_BYTE: dict[Scans, int] = {"first": ROW_BYTES - 1, "all": -1}


class StoredImage(BaseModel):
    """Scans of one letter in the store."""

    model_config = ConfigDict(extra="forbid")

    image_id: UUID

    @classmethod
    def from_body(cls, body: bytes) -> Self | None:
        """The letter that a JSON body names, or None; raises `Problem` 422 if its `image_id` is not an id."""
        if len(body) > MAX_ID_BYTES:
            return None
        try:
            document = from_json(body)
        except ValueError:
            return None
        if not isinstance(document, dict) or "image_id" not in document:
            return None
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            raise Problem(422, f"{found['loc'][0]!s:.60}: {found['msg']}; {EXPECTED}") from None


class ImageStore:
    """Stores scans under keys that begin with the pattern's name; its connections close with the app."""

    def __init__(self, app: Service, pattern: str, settings: StoreSettings) -> None:
        self._pattern = pattern
        self._ttl = settings.image_ttl_seconds
        self._redis = connect(app, settings.redis_url)

    async def put(self, scans: Rows, caller: Caller) -> UUID:
        """Store n scans. Returns their id; raises `Problem` 503."""
        image_id = uuid4()
        async with redis_deadline(caller, "store"):
            await self._redis.set(self._key(image_id), to_payload(scans), ex=self._ttl)
        return image_id

    async def get(self, image_id: UUID, scans: Scans, caller: Caller) -> Rows:
        """The rows of all scans, or of the first alone; raises `Problem`: 404, 503."""
        async with redis_deadline(caller, "store"):
            content: bytes = await self._redis.getrange(self._key(image_id), 0, LAST_BYTE[scans])  # type: ignore[assignment]
        if not content or len(content) % ROW_BYTES:  # unknown, or not written by us
            raise image_not_found(image_id)
        return to_rows(content)

    async def is_ready(self) -> bool:
        """Whether the store can take a picture."""
        return await can_write(self._redis, f"{self._pattern}:check")

    def _key(self, image_id: UUID) -> str:
        return f"{self._pattern}:image:{image_id}"


def image_not_found(image_id: UUID) -> Problem:
    """The letter was never stored, or has expired."""
    return Problem(404, f"image_id: {image_id} is not stored: POST /images gives an id")
