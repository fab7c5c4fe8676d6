"""A loop in the background survives whatever its iterations raise, and says what it lacks once, not with each try."""

import asyncio
import json
from threading import Event

import pytest
from fastapi.testclient import TestClient

from common.service.background import add_background_loop
from common.service.service import Service
from common.service.settings import ServiceSettings


def test_an_outage_is_logged_when_it_begins_and_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes: list[Exception | None] = [
        *[ConnectionError("refused")] * 3,
        None,
        ConnectionError("reset"),
        LookupError("a fault of ours"),
        None,
    ]
    ended = Event()

    async def tick() -> None:
        if not outcomes:
            ended.set()
            await asyncio.sleep(0.01)
        elif error := outcomes.pop(0):
            raise error

    app = Service("test", ServiceSettings())
    add_background_loop(app, tick, "queue", unavailable=(ConnectionError,))
    with TestClient(app):
        assert ended.wait(20)
    lines = [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line.startswith("queue")] == [
        "queue: unavailable, and tried again: refused",
        "queue: available again",
        "queue: unavailable, and tried again: reset",
        "queue: an iteration failed",
        "queue: available again",
    ]


def test_the_loop_runs_again_when_the_app_is_started_again() -> None:
    ticked, ends = Event(), []

    async def tick() -> None:
        ticked.set()

    async def at_end() -> None:
        ends.append(ticked.is_set())

    app = Service("test", ServiceSettings())
    add_background_loop(app, tick, "queue", interval_seconds=0.01, at_end=at_end)
    for _ in range(2):
        ticked.clear()
        with TestClient(app):
            assert ticked.wait(20)
    assert ends == [True, True]
