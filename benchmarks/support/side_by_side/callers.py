"""Callers who want a digit by a deadline: one after another, many at once, or at a steady rate during an incident.

At a steady rate the next caller comes whatever became of those before, so that a service that stands still is seen by
all who come meanwhile. Nothing is asked twice.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from statistics import median
from typing import NamedTuple

import aiohttp

from benchmarks.support.load.questions import PREDICT
from benchmarks.support.side_by_side.results import Incident, Outcome

LEAD_SECONDS = 1.0
"""Callers that come before the incident."""
MOST_EARLY_MISSES = 0.1
"""The share of them that may get no digit, since a machine is never quite quiet."""
PATIENCE_SECONDS = 20.0
"""So long an accepted job is waited for until it counts as lost."""
SLACK_SECONDS = 0.05
"""After its deadline; an answer by then was sent in time."""


class Trouble(NamedTuple):
    """What happens, and what callers send: a function of the seconds since then, which are negative before."""

    inject: Callable[[], object] = lambda: None
    body: Callable[[float], bytes] = lambda _: PREDICT.body


class Callers:
    """Those of one service, and what becomes of them."""

    def __init__(self, session: aiohttp.ClientSession, url: str, path: str, deadline_ms: int) -> None:
        self._session, self._base, self._url = session, url, url + path
        self._deadline = deadline_ms / 1e3
        self._headers = {"Content-Type": "application/json", "X-Request-Timeout-Ms": str(deadline_ms)}
        self.lost = 0

    async def call(self, body: bytes = PREDICT.body) -> tuple[Outcome, float]:
        """Ask for the digit of one picture: the outcome, and the seconds until the caller had it, or was free."""
        started = time.perf_counter()
        location, free = "", 0.0
        try:
            async with asyncio.timeout(self._deadline + SLACK_SECONDS):
                async with self._session.post(self._url, data=body, headers=self._headers) as answer:
                    found = await answer.json(content_type=None)
                    location, free = answer.headers.get("Location", ""), time.perf_counter()
                if location:
                    found = await self._fetch(location)
        except aiohttp.ClientError:
            return Outcome.ERROR, time.perf_counter() - started
        except TimeoutError:
            if not location:
                return Outcome.NOTHING, time.perf_counter() - started
            await self._follow(location)
            return Outcome.ACCEPTED, free - started
        return _outcome(found, answer.ok), time.perf_counter() - started

    async def _fetch(self, location: str) -> dict[str, object]:
        """The prediction of a job, once it is done."""
        async with self._session.get(self._base + location, params={"wait": int(PATIENCE_SECONDS)}) as answer:
            job = await answer.json()
        return job.get("prediction") or {}

    async def _follow(self, location: str) -> None:
        try:
            found = await self._fetch(location)
        except aiohttp.ClientError:
            found = {}
        self.lost += _outcome(found, True) is not Outcome.DIGIT

    async def steadily(self, rate: int, seconds: float, incident: Trouble) -> Incident:
        """What those get who come, evenly, from the incident on; almost all before it must get the digit."""
        tasks: list[asyncio.Task[tuple[Outcome, float]]] = []
        begun, lead = time.perf_counter(), int(LEAD_SECONDS * rate)
        for number in range(lead + int(seconds * rate)):
            await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            if number == lead:
                incident.inject()
            tasks.append(asyncio.create_task(self.call(incident.body((number - lead) / rate))))
        calls = await asyncio.gather(*tasks)
        before, during = calls[: lead - int(rate * self._deadline)], calls[lead:]
        if sum(outcome is not Outcome.DIGIT for outcome, _ in before) > len(before) * MOST_EARLY_MISSES:
            raise RuntimeError(f"{self._url} gave no digits before the incident: {before}")
        instead = [took for outcome, took in during if outcome not in (Outcome.DIGIT, Outcome.NOTHING)]
        return Incident(
            outcomes="".join(outcome for outcome, _ in during),
            p50_ms=median(instead) * 1e3 if instead else None,
            lost=self.lost,
        )

    async def closed_loop(self, callers: int, seconds: float) -> list[float]:
        """Each of so many callers asks again and again; the seconds that each answer took."""
        end = time.perf_counter() + seconds
        took: list[float] = []

        async def one() -> None:
            while time.perf_counter() < end:
                outcome, duration = await self.call()
                if outcome is not Outcome.DIGIT:
                    raise RuntimeError(f"{self._url}: {outcome.name} instead of a digit")
                took.append(duration)

        await asyncio.gather(*[one() for _ in range(callers)])
        return took


@asynccontextmanager
async def callers_of(url: str, path: str, deadline_ms: int) -> AsyncIterator[Callers]:
    """Callers that share a pool of connections without a limit."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Callers(session, url, path, deadline_ms)


def _outcome(found: dict[str, object], ok: bool) -> Outcome:
    if not ok:
        return Outcome.ERROR
    if found.get("degraded") or found.get("missing"):
        return Outcome.PARTIAL
    prediction = found.get("prediction") or found
    if not isinstance(prediction, dict) or prediction.get("digit") is None:
        return Outcome.ERROR
    return Outcome.DIGIT
