"""Server-sent events as their reader has them."""

import json
from collections.abc import Iterator
from typing import Any

import httpx


def events_of(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    """The name and the data of each event, as they come, until the stream ends."""
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    name = ""
    for line in answer.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
