"""The items of a long JSON list, parsed one at a time.

Parsing holds Python's lock from its beginning to its end. A list of 15 MB would hold up all other requests for most of
a second, and most such lists have a wrong item soon, or too many.
"""

import re
from collections.abc import Iterator
from json import JSONDecoder

from common.service.body.long_work import LONG_BYTES
from common.service.problems import Problem

LONG_LIST_BYTES = 4 * LONG_BYTES
"""What is shorter is parsed as a whole in a few milliseconds, and quicker than item by item."""

_space = re.compile(rb"[ \t\n\r]*")
_decoder = JSONDecoder(parse_int=float, strict=False)  # `int` refuses more than 4300 digits


def split_list(body: bytes, max_item_bytes: int) -> Iterator[bytes]:
    """The JSON of each item; one that is malformed, or too long, comes cut: after one byte more than it may have.

    Raises `Problem` 400 where the list goes on otherwise than with a comma, or does not end.
    """
    place = _skip_space(body, body.index(b"[") + 1)
    count = 0
    while count or body[place : place + 1] != b"]":
        end = _end_of_item(body, place, max_item_bytes)
        yield body[place:end]
        count, place = count + 1, _skip_space(body, end)
        if body[place : place + 1] != b",":
            break
        place = _skip_space(body, place + 1)
    if body[place : place + 1] != b"]" or _skip_space(body, place + 1) < len(body):
        raise Problem(400, f"body: not JSON (expected a comma and an item, or the list's end, after {count} items)")


def _skip_space(body: bytes, place: int) -> int:
    found = _space.match(body, place)
    return found.end() if found else place


def _end_of_item(body: bytes, place: int, max_item_bytes: int) -> int:
    end = body.find(b"}", place, place + max_item_bytes) + 1
    if _is_flat_object(body[place:end]):  # as most are: no need to parse it twice
        return end
    # Latin-1 has a character for each byte, and UTF-8 has no byte of JSON's own within other characters.
    text = str(memoryview(body)[place : place + max_item_bytes + 1], "latin-1")
    try:
        return place + _decoder.raw_decode(text)[1]
    except (ValueError, RecursionError):
        return place + len(text)


def _is_flat_object(text: bytes) -> bool:
    """Whether the brace at its end closes the one at its start; False where strings make that hard to say."""
    return text.startswith(b"{") and text.count(b"{") == 1 and b"\\" not in text and text.count(b'"') % 2 == 0
