"""The items in a request's body, as rows: JSON, or one of the domain's binary media types. Errors say what to send."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Annotated

from fastapi import Request
from pydantic import FailFast, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from common import domain
from common.inference.cpu_quota import cpu_quota
from common.inference.tensor_spec import Tensors
from common.prediction.long_list import LONG_LIST_BYTES, split_list
from common.prediction.settings import InputSettings
from common.service.body.long_work import LONG_BYTES, in_thread
from common.service.deadline import before_deadline
from common.service.problems import Problem
from common.service.request_context import media_type, request_context
from common.service.validation_errors import shorten

MAX_PLACE = 60
"""Characters of the name of a place, such as `[3].pixels[12]`, in an error."""
JSON = "application/json"
UNKNOWN = "application/octet-stream"
"""What a body without a Content-Type is (RFC 9110, 8.3), unless it looks like JSON."""
ITEMS = f"{domain.Input.__name__.lower()}s"

_one = TypeAdapter(domain.Input)
_many = TypeAdapter(Annotated[list[domain.Input], FailFast()])


class InputDecoder:
    """Decodes an item, or a JSON list of at most `max_items`."""

    def __init__(self, settings: InputSettings, max_items: int = 1) -> None:
        self._settings = settings
        self._max_items = max_items
        self._threads = ThreadPoolExecutor(cpu_quota(), "decode")

    async def decode(self, request: Request, body: bytes) -> tuple[Tensors, bool]:
        """Rows, and whether they came as a list.

        Raises `Problem`: 400 not JSON, 413 more than `max_items`, 415 another Content-Type, 422 no items, 504 not
        decoded by the request's deadline, and what the domain's own functions raise.
        """
        started = monotonic()
        context = request_context(request)
        rows, many = await self._rows(media_type(request), body, context.deadline)
        context.timings["decode"] = monotonic() - started
        return rows, many

    async def decode_one(self, request: Request, body: bytes) -> Tensors:
        """The row of one item; a list is a `Problem` too (422)."""
        if media_type(request) == JSON and body.lstrip().startswith(b"["):
            raise Problem(422, f"body: got a list; {domain.EXPECTED}")
        rows, _ = await self.decode(request, body)
        return rows

    async def _rows(self, content_type: str, body: bytes, deadline: float) -> tuple[Tensors, bool]:
        if content_type == JSON:
            max_item_bytes = self._settings.max_item_bytes
            if len(body) > max_item_bytes:
                _check_length(body, self._max_items, max_item_bytes)
            if len(body) >= LONG_BYTES:
                return await before_deadline(deadline, in_thread(from_json, body, self._max_items, max_item_bytes))
            return from_json(body, self._max_items, max_item_bytes)
        looks_like_json = body.lstrip().startswith((b"{", b"["))
        read = domain.MEDIA_TYPES.get(content_type or ("" if looks_like_json else UNKNOWN))
        if read is None:
            expected = " or ".join((JSON, *domain.MEDIA_TYPES))
            got = repr(content_type) if content_type else "none"
            raise Problem(415, f"Content-Type: expected {expected}, got {got}")
        loop = asyncio.get_running_loop()
        try:  # an image takes a while to decode, so a thread does it
            return await before_deadline(
                deadline, loop.run_in_executor(self._threads, read, body, self._settings)
            ), False
        except ValueError as error:
            raise to_problem(error) from None


def _check_length(body: bytes, max_items: int, max_item_bytes: int) -> None:
    items = 1
    if body.lstrip().startswith(b"["):
        if len(body) >= LONG_LIST_BYTES:
            return  # each item is checked as it is read
        items = max(1, min(body.count(b"{"), max_items))  # each item is an object, so there are no more
    limit, size = items * max_item_bytes, len(body.strip())
    if size > limit:
        raise _too_long("body", limit, str(size))


def from_json(body: bytes, max_items: int, max_item_bytes: int) -> tuple[Tensors, bool]:
    """A JSON item, or a list of them -> rows, and whether it was a list.

    Raises `Problem`: 400 not JSON, 413 more than `max_items`, 422 not items.
    """
    many = body.lstrip().startswith(b"[")
    try:
        if many and len(body) >= LONG_LIST_BYTES:
            items = _from_long_list(body, max_items, max_item_bytes)
        else:
            items = _many.validate_json(body) if many else [_one.validate_json(body)]
        if not items:
            raise Problem(422, f"body: got an empty list; {domain.EXPECTED}")
        if len(items) > max_items:
            raise Problem(413, f"body: expected at most {max_items} {ITEMS}, got {len(items)}; send them in parts")
        return domain.to_rows(items), many
    except ValueError as error:
        raise to_problem(error) from None


def _from_long_list(body: bytes, max_items: int, max_item_bytes: int) -> list[domain.Input]:
    items: list[domain.Input] = []
    for text in split_list(body, max_item_bytes):
        if len(items) == max_items:
            raise Problem(413, f"body: expected at most {max_items} {ITEMS}, got more; send them in parts")
        try:
            items.append(_one.validate_json(text))
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            if (
                len(text) > max_item_bytes
                and found["type"] == "json_invalid"
                and found["ctx"]["error"].startswith("EOF")
            ):
                raise _too_long(f"[{len(items)}]", max_item_bytes, "more") from None
            raise _to_problem(found | {"loc": (len(items), *found["loc"])}) from None
    return items


def _too_long(where: str, limit: int, got: str) -> Problem:
    expected = f"expected at most {limit} bytes of JSON (MAX_ITEM_BYTES for each of the {ITEMS})"
    return Problem(413, f"{where}: {expected}, got {got}; {domain.EXPECTED}")


def to_problem(error: ValueError) -> Problem:
    """What the domain says of input that it cannot read; its status is the error's own, or 422."""
    if isinstance(error, ValidationError):
        return _to_problem(error.errors(include_url=False)[0])
    return Problem(getattr(error, "status", 422), str(error))


def _to_problem(error: ErrorDetails) -> Problem:
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"])
    where = where.lstrip(".")[:MAX_PLACE] or "body"
    if error["type"] == "json_invalid":
        return Problem(400, f"{where}: not JSON ({error['ctx']['error']}); {domain.EXPECTED}")
    if error["type"] == "value_error":  # a validator of the domain's own says itself what it got
        return Problem(422, f"{where}: {error['ctx']['error']}; {domain.EXPECTED}")
    return Problem(422, f"{where}: {error['msg']}, got {shorten(error['input'])}; {domain.EXPECTED}")
