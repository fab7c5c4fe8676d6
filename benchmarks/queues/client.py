"""Hands jobs in and waits for them: `python -m benchmarks.queues.client MODULE JOBS RATE`; prints one JSON object.

RATE 0: all at once, by 32 at a time. Else so many a second, whatever became of those before (open loop).
"""

import asyncio
import json
import sys
import time
from importlib import import_module
from itertools import count
from typing import Any

import numpy as np
import uvloop

from benchmarks.queues.inference import read

AT_ONCE = 32


async def burst(queue: Any, client: Any, payloads: list[bytes]) -> dict[str, float]:
    """Jobs/s from the first that is submitted to the last result."""
    numbers, jobs = count(), {}

    async def hand_in() -> None:
        while (number := next(numbers)) < len(payloads):
            jobs[number] = await queue.submit(client, payloads[number])

    started = time.perf_counter()
    await asyncio.gather(*[hand_in() for _ in range(AT_ONCE)])
    handed_in = time.perf_counter()
    numbers = count()
    results = {}

    async def fetch() -> None:
        while (number := next(numbers)) < len(payloads):
            results[number] = await queue.result(client, jobs[number])

    await asyncio.gather(*[fetch() for _ in range(AT_ONCE)])
    seconds = time.perf_counter() - started
    for number in range(0, len(payloads), 97):
        assert np.allclose(results[number], read(payloads[number]), atol=1e-5)
    return {"jobs_per_second": len(payloads) / seconds, "handed_in_per_second": len(payloads) / (handed_in - started)}


async def steady(queue: Any, client: Any, payloads: list[bytes], rate: float) -> dict[str, float]:
    """Milliseconds from submitting to the result, for jobs that come evenly."""
    took: list[float] = []

    async def one(payload: bytes, due: float) -> None:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        started = time.perf_counter()  # not `due`: the timer's own delay does not count
        await queue.result(client, await queue.submit(client, payload))
        took.append(time.perf_counter() - started)

    began = time.perf_counter() + 0.1
    await asyncio.gather(*[one(payload, began + number / rate) for number, payload in enumerate(payloads)])
    return {"p50_ms": float(np.percentile(took, 50)) * 1e3, "p99_ms": float(np.percentile(took, 99)) * 1e3}


async def main() -> None:
    """Warm up, then measure."""
    name, jobs, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    queue = import_module(f"benchmarks.queues.{name}")
    client = await queue.connect()
    random = np.random.default_rng(7)
    payloads = [random.uniform(0, 16, 64).astype("<f4").tobytes() for _ in range(jobs)]
    await asyncio.gather(*[queue.result(client, await queue.submit(client, payload)) for payload in payloads[:64]])
    figures = await (steady(queue, client, payloads, rate) if rate else burst(queue, client, payloads))
    print(json.dumps(figures))


if __name__ == "__main__":
    uvloop.run(main())
