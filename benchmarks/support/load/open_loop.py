"""Requests at a steady rate, whatever the answers do: a slow answer does not hold the next request back.

So a queue that forms is seen: each latency counts from the moment at which the request was due, not from when there was
time to send it. Arrivals are Poisson's, as those of callers who know nothing of one another.
"""

import asyncio
import random
import time
from typing import NamedTuple

import aiohttp

SEED = 7


class Latencies(NamedTuple):
    """Milliseconds of the answered requests, sorted, and how many failed."""

    milliseconds: list[float]
    failed: int

    def percentile(self, share: float) -> float:
        """The latency that this share of the answers did not exceed."""
        return self.milliseconds[min(int(len(self.milliseconds) * share), len(self.milliseconds) - 1)]


async def open_loop(url: str, body: bytes, headers: dict[str, str], rate: float, seconds: float) -> Latencies:
    """Send `rate` requests/s for so many seconds, and wait for all answers."""
    rng = random.Random(SEED)
    milliseconds: list[float] = []
    failed = 0
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:

        async def ask(due: float) -> None:
            nonlocal failed
            try:
                async with session.post(url, data=body) as answer:
                    await answer.read()
                    if answer.status != 200:
                        failed += 1
                        return
            except aiohttp.ClientError:
                failed += 1
                return
            milliseconds.append((time.perf_counter() - due) * 1e3)

        due = time.perf_counter()
        end = due + seconds
        async with asyncio.TaskGroup() as group:
            while due < end:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(ask(due))
                due += rng.expovariate(rate)
    return Latencies(sorted(milliseconds), failed)
