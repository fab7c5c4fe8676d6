"""Decodes a request's body into rows of the domain, from JSON or a media type of the domain's own."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Annotated, Any

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from pydantic import FailFast, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, to_json

from common import domain
from common.inference.cpu_quota import cpu_quota
from common.service.problems import Problem
from common.service.request_context import media_type, request_context

Rows = NDArray[np.void]
"""Of the domain's dtype `ROW`, shape (n,)."""
JSON = "application/json"
MAX_SHOWN = 60
"""Characters of a wrong value that an error repeats."""

_one = TypeAdapter[Any](domain.Input)
_many = TypeAdapter[Any](Annotated[list[domain.Input], FailFast()])


class InputDecoder:
    """Decodes pictures of at most `max_pixels` pixels, and lists of at most `max_items` items."""

    def __init__(self, max_pixels: int, max_items: int) -> None:
        self._max_pixels = max_pixels
        self._max_items = max_items
        self._threads = ThreadPoolExecutor(cpu_quota(), "decode")

    async def decode(self, request: Request, body: bytes) -> tuple[Rows, bool]:
        """n rows, and whether they came as a list.

        Raises `Problem`: 415 (another Content-Type), 400 (not JSON, damaged), 413 (too many, too large), 422.
        """
        started = monotonic()
        rows, many = await self._rows(media_type(request), body)
        request_context(request).timings["decode"] = monotonic() - started
        return rows, many

    async def decode_one(self, request: Request, body: bytes) -> Rows:
        """One row; a list is a `Problem` too (422)."""
        if media_type(request) == JSON and body.lstrip().startswith(b"["):
            raise Problem(422, f"body: got a list; {domain.EXPECTED}")
        rows, _ = await self.decode(request, body)
        return rows

    async def _rows(self, content_type: str, body: bytes) -> tuple[Rows, bool]:
        if content_type == JSON:
            return from_json(body, self._max_items)
        decode = domain.MEDIA_TYPES.get(content_type)
        if decode is None:
            sent = repr(content_type) if content_type else "none"
            raise Problem(415, f"Content-Type: expected {_either(JSON, *domain.MEDIA_TYPES)}, got {sent}")
        loop = asyncio.get_running_loop()
        try:  # it takes a while, so a thread does it
            return await loop.run_in_executor(self._threads, decode, body, self._max_pixels), False
        except ValueError as error:
            raise Problem(getattr(error, "status", 422), str(error)) from None


def from_json(body: bytes, max_items: int) -> tuple[Rows, bool]:
    """A JSON item, or a list of them -> rows, and whether it was a list.

    Raises `Problem`: 400 not JSON, 413 more than `max_items`, 422 not as expected.
    """
    many = body.lstrip().startswith(b"[")
    try:
        items = _many.validate_json(body) if many else [_one.validate_json(body)]
    except ValidationError as error:
        raise _problem(error.errors(include_url=False)[0]) from None
    if not items:
        raise Problem(422, f"body: got an empty list; {domain.EXPECTED}")
    if len(items) > max_items:
        raise Problem(413, f"body: expected at most {max_items} items, got {len(items)}; send them in parts")
    try:
        return domain.to_rows(items), many
    except ValueError as error:
        where = f"[{getattr(error, 'item', 0)}]." if many else ""
        raise Problem(getattr(error, "status", 422), f"{where}{error}; {domain.EXPECTED}") from None


def _problem(error: ErrorDetails) -> Problem:
    if error["type"] == "json_invalid":
        return Problem(400, f"body: not JSON ({error['ctx']['error']}); {domain.EXPECTED}")
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"])
    where = where.lstrip(".")[:MAX_SHOWN] or "body"
    return Problem(422, f"{where}: {error['msg']}, got {_shorten(error['input'])}; {domain.EXPECTED}")


def _shorten(value: object) -> str:
    """A wrong value as the caller wrote it, in JSON."""
    text = to_json(value, inf_nan_mode="constants", fallback=str).decode()
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _either(*names: str) -> str:
    """`a, b or c`."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
