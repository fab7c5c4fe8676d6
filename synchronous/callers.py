"""A caller that is itself a service, written in two ways: with a blocked thread for each letter, and with async calls.

    python -m synchronous.callers --letters 400 http://127.0.0.1:8002

While the letters are sent, other short work arrives. In the blocking caller it waits until a thread is free. In the
async caller the number of concurrent calls is limited, and other work does not wait.
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


class Measurement(NamedTuple):
    """What a caller did: the seconds for all letters, and how long each piece of other work waited."""

    threads: int
    seconds: float
    degraded: int
    waits: list[float]


def send_blocking(url: str, letters: int, threads: int, headers: dict[str, str]) -> Measurement:
    """Every letter blocks one of the threads that also do the other work."""
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
    return Measurement(threads, seconds, degraded, waits)


async def send_async(url: str, letters: int, at_once: int, headers: dict[str, str]) -> Measurement:
    """No letter blocks a thread; a semaphore limits the number of concurrent calls."""
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
    return Measurement(1, time.monotonic() - started, sum(map(_is_degraded, answers)), waits)


def _is_degraded(answer: httpx.Response) -> bool:
    return bool(answer.raise_for_status().json()["degraded"])


def main() -> None:
    """Send the same letters both ways, and print how long other work waited."""
    parser = argparse.ArgumentParser(prog="python -m synchronous.callers", description=__doc__.partition("\n")[0])
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8002", help="of the proxy (default: %(default)s)")
    parser.add_argument("--letters", type=int, default=400, help="in the burst (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=8, help="threads, or letters awaited (default: %(default)s)")
    parser.add_argument("--timeout-ms", type=int, default=2_000, help="X-Request-Timeout-Ms (default: %(default)s)")
    arguments = parser.parse_args()
    headers = {"Content-Type": "image/png", "X-Request-Timeout-Ms": str(arguments.timeout_ms)}
    burst = (f"{arguments.url}/letters", arguments.letters, arguments.at_once, headers)
    callers: dict[str, Callable[[], Measurement]] = {
        "blocking": lambda: send_blocking(*burst),
        "awaiting": lambda: asyncio.run(send_async(*burst)),
    }
    print(f"{'caller':<10}{'threads':>8}{'letters/s':>11}{'degraded':>10}   other work waited: median, longest")
    for name, send in callers.items():
        try:
            measured = send()
        except httpx.HTTPError as error:
            sys.exit(
                f"no letters could be sent to {arguments.url}: {str(error) or type(error).__name__}"
            )  # a time-out says nothing
        rate = f"{arguments.letters / measured.seconds:,.0f}"
        waits = f"{median(measured.waits) * 1e3:.1f} ms, {max(measured.waits) * 1e3:.1f} ms"
        print(f"{name:<10}{measured.threads:>8}{rate:>11}{measured.degraded:>10}   {waits}")


if __name__ == "__main__":
    main()
