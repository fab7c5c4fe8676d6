"""What a call to another service costs its caller, in CPU, by the way it is sent: `python -m benchmarks.transports`

Each way asks the same real predictor (on the load's CPU) for one prediction, 16 at once; the caller's own CPU time is
counted. All ways take turns, so that a slow minute of the machine falls on all.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median

import aiohttp
import httpx
import numpy as np
import uvloop
from fastapi import Request
from httpx_aiohttp import AiohttpTransport
from rich.console import Console

from benchmarks.support.load.questions import PIXELS
from benchmarks.support.machine import on_cpus, part_cpus
from benchmarks.support.report import show_table
from common import domain
from common.backends.backend import Backend
from common.backends.classifier import Classifier
from common.backends.classifier_grpc import GrpcClassifier
from common.backends.classifier_rest import RestClassifier
from common.backends.http_client import HttpClient
from common.backends.infer_client import write_request
from common.backends.metrics import BackendMetrics
from common.service.request_context import RequestContext, cancel_on_disconnect
from common.service.service import Service
from synchronous.settings import ProxySettings
from tests.support.stack import predictor_url, stack_of

AT_ONCE = 16
COLUMNS = ("way", "CPU µs/call (median)", "/ bare aiohttp (min, median, max)")
BASE = "aiohttp, bare"
ROWS = {"features": PIXELS[np.newaxis]}

Ask = Callable[[], Awaitable[object]]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transports", description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=2_000, help="of each way in a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    arguments = parser.parse_args()
    cpus = part_cpus()
    with stack_of("synchronous") as these:
        with on_cpus(cpus.load):
            these.start("predictor", log_level="WARNING", model_threads=1)
        os.sched_setaffinity(0, cpus.server)
        urls = predictor_url(these, "http"), predictor_url(these, "grpc")
        figures = uvloop.run(measure(*urls, arguments.calls, arguments.rounds))
    rows = [row(way, rounds, figures[BASE]) for way, rounds in figures.items()]
    show_table(COLUMNS, rows, Console(file=sys.stdout, highlight=False))


def row(way: str, rounds: list[float], base: list[float]) -> tuple[str, str, str]:
    """A way's figures over the rounds."""
    ratios = [one / other for one, other in zip(rounds, base, strict=True)]
    shown = ", ".join(f"{ratio:.1f}" for ratio in (min(ratios), median(ratios), max(ratios)))
    return way, f"{median(rounds) * 1e6:.0f}", shown


async def measure(rest: str, grpc: str, calls: int, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of a call, by way and round."""
    figures: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        ways = {**await plain_ways(rest, stack), **await our_ways(rest, grpc, stack)}
        for _ in range(rounds):
            for way, ask in ways.items():
                print(f"{way} …", file=sys.stderr)
                await cpu_seconds(ask, calls // 10)
                figures.setdefault(way, []).append(await cpu_seconds(ask, calls))
    return figures


async def cpu_seconds(ask: Ask, calls: int) -> float:
    """Of one call, while so many others are under way."""

    async def some() -> None:
        for _ in range(calls // AT_ONCE):
            await ask()

    started = time.process_time()
    await asyncio.gather(*[some() for _ in range(AT_ONCE)])
    return (time.process_time() - started) / (calls // AT_ONCE * AT_ONCE)


async def plain_ways(model: str, stack: AsyncExitStack) -> dict[str, Ask]:
    """Clients as they are, which read the answer and do nothing with it."""
    url, (body, headers) = httpx.URL(f"{model}/infer"), write_request(ROWS, domain.OUTPUTS)
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
    default = await stack.enter_async_context(httpx.AsyncClient(limits=limits))
    client = await stack.enter_async_context(httpx.AsyncClient(transport=AiohttpTransport(limits=limits)))
    transport = await stack.enter_async_context(AiohttpTransport(limits=limits))

    async def bare() -> None:
        async with session.post(str(url), data=body, headers=headers) as answer:
            await answer.read()

    async def direct() -> None:
        answer = await transport.handle_async_request(httpx.Request("POST", url, headers=headers, content=body))
        await answer.aread()
        await answer.aclose()

    return {
        BASE: bare,
        "httpx, its own transport": lambda: default.post(url, content=body, headers=headers),
        "httpx, aiohttp as transport": lambda: client.post(url, content=body, headers=headers),
        "httpx.Request, aiohttp's transport called directly": direct,
    }


async def our_ways(rest: str, grpc: str, stack: AsyncExitStack) -> dict[str, Ask]:
    """All of what a proxy does for one call: deadline, breaker, metrics, tensors, and the caller who may leave."""
    settings = ProxySettings(log_level="WARNING")
    app = Service("benchmark", settings)
    metrics = BackendMetrics(app.metrics.registry)
    wanted, classes = domain.OUTPUTS, len(domain.LABELS)
    backends = {way: Backend(way, settings, metrics) for way in ("rest", "grpc")}
    classifiers: dict[str, Classifier] = {
        "ours, REST": RestClassifier(backends["rest"], HttpClient(app), rest, outputs=wanted, classes=classes),
        "ours, gRPC": GrpcClassifier(backends["grpc"], app, grpc, outputs=wanted, classes=classes),
    }
    await stack.enter_async_context(running(app))

    def way(classifier: Classifier) -> Ask:
        async def ask() -> None:
            context = RequestContext(time.monotonic() + 10, 0, never)
            request = Request({"type": "http", "state": {"request_context": context}}, never)
            await cancel_on_disconnect(request, classifier.classify(ROWS, context))

        return ask

    return {name: way(classifier) for name, classifier in classifiers.items()}


@asynccontextmanager
async def running(app: Service) -> AsyncIterator[None]:
    """The app's lifespan, in which its clients are open."""
    async with app.router.lifespan_context(app):
        yield


async def never() -> dict[str, object]:
    """The receive channel of a client that stays."""
    await asyncio.Event().wait()
    raise AssertionError


if __name__ == "__main__":
    main()
