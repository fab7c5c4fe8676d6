"""The synchronous pattern with faults between its proxies and their predictor: how a letter fares then."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple

import httpx

from tests.support.http.fault_proxy import Link
from tests.support.processes import wait_until
from tests.support.samples import PNG, SEVEN_PIXELS
from tests.support.service_process import Server, is_ready
from tests.support.stack import Stack, predictor_url, stack_of

DEADLINE_MS = 400
SLACK_SECONDS = 0.3
BACK_SECONDS = 10.0


class Flow(NamedTuple):
    """Two proxies, with the fallback and without, and the predictor that both ask over one link."""

    stack: Stack
    link: Link
    is_grpc: bool
    soft: Server
    hard: Server

    @property
    def predictor(self) -> Server:
        return self.stack.servers["predictor"]


@contextmanager
def flows(scheme: str, drain_seconds: float = 0, **proxy: object) -> Iterator[Flow]:
    """The same, all ready; how long the predictor drains, and settings of both proxies."""
    is_grpc = scheme == "grpc"
    with stack_of("synchronous") as stack, stack_of("synchronous") as others:
        predictor = stack.launch("predictor", drain_seconds=drain_seconds)
        with Link(stack.port("predictor", "grpc" if is_grpc else "")).running() as link:
            url = predictor_url(stack, scheme, link.port)
            soft = stack.launch("synchronous", predictor_url=url, **proxy)
            hard = others.launch("synchronous", predictor_url=url, fallback=False, **proxy)
            wait_until(lambda: all(map(is_ready, (predictor, soft, hard))))
            yield Flow(stack, link, is_grpc, soft, hard)


def is_read(answer: httpx.Response) -> bool:
    """Whether the letter went where it should."""
    return answer.status_code == 200 and (answer.json()["bin"], answer.json()["degraded"]) == ("7", False)


def falls_back(answer: httpx.Response) -> None:
    """A letter without its reading, and marked."""
    assert answer.status_code == 200
    letter = answer.json()
    assert (letter["bin"], letter["degraded"], letter["prediction"]) == ("manual", True, None)


def names_the_predictor(answer: httpx.Response, status: int) -> None:
    """A problem of this status, which says who failed."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["backend"]) == (status, "predictor")
    assert problem["detail"].startswith("predictor: ")
    assert ("retry-after" in answer.headers) == (status == 503)


def is_back(flow: Flow, fault: str) -> None:
    """Both proxies read letters again, by themselves; until then each answers in time."""
    over = monotonic()
    wait_until(lambda: is_read(sort_seven(flow.soft)) and is_read(sort_seven(flow.hard)), BACK_SECONDS)
    print(f"back {monotonic() - over:.2f} s after: {fault}")


@contextmanager
def hung(predictor: Server) -> Iterator[None]:
    """It stands still as long as the block, and takes connections as a stopped process does."""
    predictor.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        predictor.process.send_signal(signal.SIGCONT)


def sort_seven(proxy: Server, deadline_ms: int = DEADLINE_MS) -> httpx.Response:
    """The answer for one letter, a seven; it must be there by the deadline."""
    began = monotonic()
    headers = {"X-Request-Timeout-Ms": str(deadline_ms)}
    answer = proxy.client.post("/letters", json={"pixels": SEVEN_PIXELS}, headers=headers)
    assert monotonic() - began < deadline_ms / 1e3 + SLACK_SECONDS
    return answer


def post_letter(proxy: Server, body: object, **headers: str) -> httpx.Response:
    """POST /letters with bytes as a PNG, with anything else as JSON."""
    if isinstance(body, bytes):
        return proxy.client.post("/letters", content=body, headers=PNG | headers)
    return proxy.client.post("/letters", json=body, headers=headers)
