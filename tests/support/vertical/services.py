"""The vertical pattern: one more proxy, which models run, what happens to a service, and how it is asked then."""

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import UUID

import httpx

from tests.support.processes import wait_until
from tests.support.samples import PNG
from tests.support.service_process import Server, serving
from tests.support.stack import Stack
from tests.support.vertical.letters import MODELS, RUN, STAGES, low_confidence, names, picture

TIMEOUT_MS = 500
SLACK_SECONDS = 0.3
BACK_SECONDS = 10.0


def another_proxy(stack: Stack, **settings: object) -> AbstractContextManager[Server]:
    """One more proxy in front of the same services, with settings of its own."""
    urls = {f"{s}_url": f"http://127.0.0.1:{stack.port(s)}/v2/models/{model}" for s, model in MODELS.items()}
    urls["redis_url"] = f"redis://127.0.0.1:{stack.port('redis')}/0"
    return serving("microservice_vertical.proxy:create_app", **(urls | settings))


def inferences(stack: Stack, metric: str = "batch_rows_count") -> dict[str, float]:
    """How often each model has run (or on how many rows)."""
    return {stage: stack.servers[stage].metric(metric) for stage in STAGES}


@contextmanager
def asks(stack: Stack, metric: str = "batch_rows_count", **times: int) -> Iterator[None]:
    """In this block each model runs so often (or on so many rows); one that is not named, never."""
    before = inferences(stack, metric)
    yield
    asked = {stage: after - before[stage] for stage, after in inferences(stack, metric).items()}
    assert asked == dict.fromkeys(STAGES, 0) | times


def keep(proxy: Server, body: object) -> httpx.Response:
    """POST /images with bytes as a PNG, with anything else as JSON."""
    if isinstance(body, bytes):
        return proxy.client.post("/images", content=body, headers=PNG)
    return proxy.client.post("/images", json=body)


def kept(proxy: Server, body: object) -> dict[str, str]:
    """What `/predict` takes instead of what is now kept."""
    response = keep(proxy, body)
    assert response.status_code == 201, response.text
    answer: dict[str, str] = response.json()
    assert answer.keys() == {"image_id"}
    assert str(UUID(answer["image_id"])) == answer["image_id"]
    return answer


@contextmanager
def killed(stack: Stack, name: str) -> Iterator[None]:
    """Nothing listens; afterwards a new process does."""
    stack.servers[name].process.kill()
    stack.servers[name].process.wait()
    try:
        yield
    finally:
        stack.start(name)


@contextmanager
def hung(stack: Stack, name: str) -> Iterator[None]:
    """It accepts connections and never answers."""
    stack.servers[name].process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        stack.servers[name].process.send_signal(signal.SIGCONT)


def low_confidence_scan() -> dict[str, list[float]]:
    """One that the reader and the specialist do not read alike."""
    scans = low_confidence().features[:, 0]
    differ = RUN["reader"](scans)[0] != RUN["specialist"](scans)[0]
    return picture(scans[differ][0])


def failed(answer: httpx.Response, stage: str, status: int) -> None:
    """A problem that names the step."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
    problem = answer.json()
    assert problem["backend"] == stage
    assert problem["detail"].startswith(f"{stage}: ")
    assert "digit" not in problem


def degraded(answer: dict[str, Any], stage: str) -> None:
    """Read by the others, and marked."""
    assert answer["degraded"] is True
    wrong = [one for one in answer["stages"] if "error" in one]
    assert [one["name"] for one in wrong] == [stage]
    assert wrong[0]["error"].startswith(f"{stage}: ")
    assert names(answer) == (STAGES[:2] if stage == "quality" else STAGES)
    assert answer["legible"] is (None if stage == "quality" else True)
    reader = answer["stages"][2 if stage == "reader" else 1]
    assert answer["digit"] == reader["digit"]
    assert answer["model"] == reader["model"]


def ask_in_time(proxy: Server, body: object, timeout_ms: int = TIMEOUT_MS) -> httpx.Response:
    """The answer to `POST /predict`, which comes by the deadline."""
    began = time.monotonic()
    answer = proxy.client.post("/predict", json=body, headers={"X-Request-Timeout-Ms": str(timeout_ms)})
    assert time.monotonic() - began < timeout_ms / 1e3 + SLACK_SECONDS
    return answer


def well_again(*proxies: Server) -> float:
    """Seconds until each gives the whole answer, three stages and none failed."""
    began = time.monotonic()
    for proxy in proxies:
        wait_until(lambda proxy=proxy: is_whole(ask_in_time(proxy, low_confidence_scan())), BACK_SECONDS)  # type: ignore[misc]
    return time.monotonic() - began


def is_whole(answer: httpx.Response) -> bool:
    """Three stages, and none failed."""
    return answer.status_code == 200 and names(answer.json()) == STAGES and not answer.json()["degraded"]
