"""A caller that is itself a service, twice: one blocks a thread for each letter, the other awaits them.

    python -m synchronous.callers --letters 400 http://127.0.0.1:8002

While a burst of letters is under way, other work arrives that takes no time at all. In the first caller it waits until
one of the threads is free; in the second, at most a bounded number of letters are under way and nothing else waits.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx

SEVEN = (Path(__file__).parent.parent / "common" / "samples" / "seven.png").read_bytes()
OTHER_WORK_EVERY_SECONDS = 0.005


class Figures(NamedTuple):
    """What a caller did: seconds for the whole burst, and how long each piece of other work waited."""

    threads: int
    seconds: float
    degraded: int
    waits: list[float]


def blocking(url: str, letters: int, threads: int, headers: dict[str, str]) -> Figures:
    """Every letter holds one of the threads that also do all other work."""
    started, waits = time.monotonic(), list[float]()

    def other_work(due: float) -> None:
        waits.append(time.monotonic() - due)

    with httpx.Client(headers=headers, timeout=60) as client, ThreadPoolExecutor(threads) as pool:
        answers = [pool.submit(client.post, url, content=SEVEN) for _ in range(letters)]
        while not all(answer.done() for answer in answers):
            pool.submit(other_work, time.monotonic())
            time.sleep(OTHER_WORK_EVERY_SECONDS)
        degraded = sum(_is_degraded(answer.result()) for answer in answers)
        seconds = time.monotonic() - started
    return Figures(threads, seconds, degraded, waits)


async def awaiting(url: str, letters: int, at_once: int, headers: dict[str, str]) -> Figures:
    """No letter holds anything; a semaphore bounds how many are under way."""
    started, waits = time.monotonic(), list[float]()
    bound = asyncio.Semaphore(at_once)

    async def letter(client: httpx.AsyncClient) -> httpx.Response:
        async with bound:
            return await client.post(url, content=SEVEN)

    async def other_work() -> None:
        while True:
            due = time.monotonic() + OTHER_WORK_EVERY_SECONDS
            await asyncio.sleep(OTHER_WORK_EVERY_SECONDS)
            waits.append(time.monotonic() - due)

    async with httpx.AsyncClient(headers=headers, timeout=60) as client:
        other = asyncio.create_task(other_work())
        answers = await asyncio.gather(*[letter(client) for _ in range(letters)])
        other.cancel()
    return Figures(1, time.monotonic() - started, sum(map(_is_degraded, answers)), waits)


def _is_degraded(answer: httpx.Response) -> bool:
    return bool(answer.raise_for_status().json()["degraded"])


def main() -> None:
    """Send the same burst by both, and print what each made its other work wait."""
    parser = argparse.ArgumentParser(prog="python -m synchronous.callers", description=__doc__.partition("\n")[0])
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8002", help="of the proxy (default: %(default)s)")
    parser.add_argument("--letters", type=int, default=400, help="in the burst (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=8, help="threads, or letters awaited (default: %(default)s)")
    parser.add_argument("--timeout-ms", type=int, default=2_000, help="X-Request-Timeout-Ms (default: %(default)s)")
    arguments = parser.parse_args()
    headers = {"Content-Type": "image/png", "X-Request-Timeout-Ms": str(arguments.timeout_ms)}
    burst = (f"{arguments.url}/letters", arguments.letters, arguments.at_once, headers)
    callers: dict[str, Callable[[], Figures]] = {
        "blocking": lambda: blocking(*burst),
        "awaiting": lambda: asyncio.run(awaiting(*burst)),
    }
    print(f"{'caller':<10}{'threads':>8}{'letters/s':>11}{'degraded':>10}   other work waited: median, longest")
    for name, send in callers.items():
        try:
            figures = send()
        except httpx.HTTPError as error:
            sys.exit(f"no letters could be sent to {arguments.url}: {error}")
        rate = f"{arguments.letters / figures.seconds:,.0f}"
        waits = f"{median(figures.waits) * 1e3:.1f} ms, {max(figures.waits) * 1e3:.1f} ms"
        print(f"{name:<10}{figures.threads:>8}{rate:>11}{figures.degraded:>10}   {waits}")


if __name__ == "__main__":
    main()
