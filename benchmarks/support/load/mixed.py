"""The mixed load of `soak.py`: right and wrong requests, small and large, at a modest steady rate for each kind.

Each kind names the status that its answer must have; any other one, and a job or run that is not done, is an error.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from uuid import uuid4

import aiohttp

from benchmarks.support.load.questions import PICTURE, V2_BINARY, V2_JSON
from common.domain.digits import EXAMPLE
from tests.support.processes import ROOT

SAMPLES = ROOT / "common" / "samples"
SEVEN = (SAMPLES / "seven.png").read_bytes()
PNG, JSON = {"Content-Type": "image/png"}, {"Content-Type": "application/json"}
MANY = json.dumps([EXAMPLE] * 100).encode()
TOO_LARGE = b" " * 20_000_000
WAIT = "wait=20"
INPUT = "soak/scans"
"""In the data folder of `batch`; `soak.py` puts it there."""


class Kind(NamedTuple):
    """One kind of request: its pattern, its name, how often a second, and what to do; that gives a status or a word."""

    pattern: str
    name: str
    rate: float
    ask: Callable[[aiohttp.ClientSession, str], Awaitable[object]]
    expected: object = 200


def post(path: str, body: bytes, headers: dict[str, str]) -> Callable[[aiohttp.ClientSession, str], Awaitable[object]]:
    """One request, of which the status counts."""

    async def ask(client: aiohttp.ClientSession, url: str) -> int:
        async with client.post(url + path, data=body, headers=headers) as response:
            await response.read()
            return response.status

    return ask


async def stored(client: aiohttp.ClientSession, url: str) -> object:
    """Store a letter's scans, then predict them by their id."""
    async with client.post(f"{url}/images", data=SEVEN, headers=PNG) as response:
        body = await response.read()
    return await post("/predict", body, JSON)(client, url) if response.status == 201 else response.status


async def job(client: aiohttp.ClientSession, url: str) -> object:
    """Submit a job, and wait for its result."""
    async with client.post(f"{url}/jobs", data=SEVEN, headers=PNG) as response:
        await response.read()
        if response.status != 202:
            return response.status
    async with client.get(f"{url}{response.headers['Location']}?{WAIT}") as result:
        return (await result.json())["status"] if result.status == 200 else result.status


async def run(client: aiohttp.ClientSession, url: str) -> object:
    """Start a batch job, and poll until it has ended."""
    async with client.post(f"{url}/runs", json={"input": INPUT, "output": f"soak/{uuid4().hex}"}) as response:
        run_id = (await response.json()).get("id")
        if response.status != 201:
            return response.status
    while True:
        await asyncio.sleep(0.5)
        async with client.get(f"{url}/runs/{run_id}") as response:
            state = (await response.json())["state"]
        if state not in ("queued", "running"):
            return state


V2_HEADERS = dict(line.split(": ", 1) for line in V2_BINARY.headers)
KINDS = (
    Kind("web_single", "picture", 10, post("/predict", SEVEN, PNG)),
    Kind("web_single", "pixels", 10, post("/predict", PICTURE.encode(), JSON)),
    Kind("web_single", "100 pictures", 2, post("/predict", MANY, JSON)),
    Kind("web_single", "/v2, JSON", 5, post(V2_JSON.path, V2_JSON.body, JSON)),
    Kind("web_single", "/v2, binary", 5, post(V2_BINARY.path, V2_BINARY.body, V2_HEADERS)),
    Kind("web_single", "no JSON", 2, post("/predict", b"{", JSON), 400),
    Kind("web_single", "no picture", 2, post("/predict", b"not a picture", PNG), 415),
    Kind("web_single", "unknown type", 2, post("/predict", SEVEN, {"Content-Type": "text/css"}), 415),
    Kind("web_single", "too large", 0.2, post("/predict", TOO_LARGE, JSON), 413),
    Kind("synchronous", "letter", 10, post("/letters", SEVEN, PNG)),
    Kind("synchronous", "no picture", 2, post("/letters", b"not a picture", PNG), 415),
    Kind("asynchronous", "job", 10, job, "done"),
    Kind("asynchronous", "no picture", 2, post("/jobs", b"not a picture", PNG), 415),
    Kind("batch", "run", 0.1, run, "done"),
    Kind("microservice_vertical", "picture", 5, post("/predict", SEVEN, PNG)),
    Kind("microservice_vertical", "stored scans", 3, stored),
    Kind("microservice_vertical", "no JSON", 2, post("/predict", b"{", JSON), 400),
    Kind("microservice_horizontal", "vote", 5, post("/predict", SEVEN, PNG)),
    Kind("microservice_horizontal", "first vote", 2, post("/predict?policy=first", SEVEN, PNG)),
    Kind("microservice_horizontal", "one member", 2, post("/predict/svm", SEVEN, PNG)),
    Kind("microservice_horizontal", "job", 3, job, "done"),
    Kind("microservice_horizontal", "unknown member", 1, post("/predict/none", SEVEN, PNG), 404),
)


class Counts(NamedTuple):
    """By pattern and kind: answers in all; and, with what came instead, the wrong ones."""

    asked: Counter[tuple[str, str]]
    wrong: Counter[tuple[str, str, str]]


async def ask_all(urls: dict[str, str], seconds: float) -> Counts:
    """Ask all kinds of the patterns that run at these addresses; ends when the last answer is there."""
    counts = Counts(Counter(), Counter())
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as client, asyncio.TaskGroup() as group:
        for kind in KINDS:
            if kind.pattern in urls:
                group.create_task(repeat(client, kind, urls[kind.pattern], seconds, counts))
    return counts


async def repeat(client: aiohttp.ClientSession, kind: Kind, url: str, seconds: float, counts: Counts) -> None:
    """Start one request after another at the kind's rate, whatever became of those before."""
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(max(1, int(seconds * kind.rate))):
            await asyncio.sleep(max(0.0, begun + number / kind.rate - time.monotonic()))
            group.create_task(ask_once(client, kind, url, counts))


async def ask_once(client: aiohttp.ClientSession, kind: Kind, url: str, counts: Counts) -> None:
    """Count one answer."""
    try:
        got = await kind.ask(client, url)
    except (aiohttp.ClientError, TimeoutError) as error:
        got = type(error).__name__
    counts.asked[kind.pattern, kind.name] += 1
    if got != kind.expected:
        counts.wrong[kind.pattern, kind.name, str(got)] += 1
