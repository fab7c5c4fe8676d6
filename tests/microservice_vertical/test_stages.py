"""One service is killed, hung or gives invalid answers: if it is required the request fails, else only the stage.

When the service recovers, so does the flow (V6).
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from tests.support.processes import running, wait_until
from tests.support.samples import SEVEN_JSON, SMUDGE_PNG
from tests.support.service_process import Server
from tests.support.stack import Stack, vertical_stack
from tests.support.vertical.letters import STAGES, illegible
from tests.support.vertical.services import (
    BACK_SECONDS,
    another_proxy,
    ask_in_time,
    degraded,
    failed,
    hung,
    killed,
    low_confidence_scan,
    well_again,
)

pytestmark = pytest.mark.full

REQUIRED = [f"{stage}_required" for stage in STAGES]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """All stages are optional."""
    with vertical_stack(quality_required=False, reader_required=False, specialist_required=False) as stack:
        yield stack


@pytest.fixture(scope="module")
def hard(stack: Stack) -> Iterator[Server]:
    """A proxy whose stages are all required."""
    with another_proxy(stack, **dict.fromkeys(REQUIRED, True)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def soft(stack: Stack) -> Server:
    """A proxy whose stages are all optional."""
    return stack.front


# What happens to a service


@contextmanager
def another_model(stack: Stack, name: str) -> Iterator[None]:
    """In its place is a model of that name with other classes; web_single serves any."""
    other = "mlp" if name == "quality" else "quality"
    with killed(stack, name):
        settings = {f"{name}_model_uri": f"common/models/{other}.onnx"}
        stack.start(name, app="web_single.predictor:create_app", **settings)
        yield
        stack.stop(name)


@contextmanager
def stranger(module: str, stack: Stack, name: str) -> Iterator[None]:
    """In its place is a server that serves no models."""
    port = stack.port(name)
    with killed(stack, name), TemporaryDirectory() as folder:
        command = module.format(port=port, folder=folder).split()
        with running(sys.executable, "-m", *command):
            wait_until(lambda: listens(port))
            yield


def listens(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}", timeout=5)
    except httpx.TransportError as error:
        return not isinstance(error, httpx.ConnectError)
    return True


Fault = Callable[[Stack, str], AbstractContextManager[None]]
FAULTS: dict[str, tuple[Fault, int]] = {
    "killed": (killed, 503),
    "hung": (hung, 504),
    "another_model": (another_model, 502),
    "web_server": (partial(stranger, "http.server {port} --bind 127.0.0.1 --directory {folder}"), 502),
    "no_http": (partial(stranger, "common.jobs.run_valkey {port} {folder}"), 502),
}
"""And the status of a request if a required stage has this fault."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stage", STAGES)
def test_failed_required_stage_is_a_problem_and_failed_optional_stage_leaves_the_best_answer(
    stack: Stack, hard: Server, soft: Server, stage: str, fault: str
) -> None:
    """Asked for what depends on it: a clear picture, or of the specialist one that is read with low confidence."""
    happens, status = FAULTS[fault]
    body = low_confidence_scan() if stage == "specialist" else SEVEN_JSON
    with happens(stack, stage):
        failed(ask_in_time(hard, body), stage, status)
        degraded(answer_without(soft, body), stage)
    print(f"{stage}, {fault}: well again after {well_again(hard, soft):.2f} s")


def answer_without(proxy: Server, body: object) -> dict[str, Any]:
    """The answer of a proxy with optional stages. One that hangs leaves the next only 45 ms, which may be too few on a
    busy machine, so it is repeated."""
    for _ in range(3):
        response = ask_in_time(proxy, body)
        if response.status_code != 504:
            break
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_no_reading_is_a_problem_and_never_a_digit(stack: Stack, soft: Server) -> None:
    """All stages are optional, and both that could read are down; an illegible scan needs no reading."""
    with killed(stack, "reader"), killed(stack, "specialist"):
        for body in (SEVEN_JSON, low_confidence_scan()):
            failed(ask_in_time(soft, body), "specialist", 503)
        illegible(soft.read(SMUDGE_PNG).json())
        with hung(stack, "quality"):
            assert ask_in_time(soft, SEVEN_JSON).status_code in (503, 504)
    well_again(soft)


def test_clear_pictures_are_answered_without_the_specialist(stack: Stack, hard: Server, soft: Server) -> None:
    """V6: one that fails does not take the others down."""
    with killed(stack, "specialist"):
        answers = [proxy.read(SEVEN_JSON) for _ in range(100) for proxy in (hard, soft)]
        degraded(ask_in_time(soft, low_confidence_scan()).json(), "specialist")
    assert [answer.status_code for answer in answers] == [200] * 200
    assert all(answer.json()["digit"] == 7 and not answer.json()["degraded"] for answer in answers)
    well_again(hard, soft)


def test_started_proxy_is_ready_while_its_required_stages_are(stack: Stack) -> None:
    """A starting proxy waits for all of them. The specialist is optional, and so is the store."""
    with another_proxy(stack) as proxy:
        for name in ("specialist", "redis"):
            with killed(stack, name):
                assert proxy.get("/health/ready").status_code == 200, name
        for name in ("quality", "reader"):
            with killed(stack, name):
                assert proxy.get("/health/ready").status_code == 503, name
                assert proxy.get("/health/live").status_code == 200, name
            wait_until(lambda: proxy.get("/health/ready").status_code == 200, BACK_SECONDS)


@pytest.mark.parametrize("name", [*STAGES, "redis"])
def test_starting_proxy_is_not_ready_before_all_services_are(stack: Stack, name: str) -> None:
    stack.stop(stack.front_name)
    with killed(stack, name):
        proxy = stack.launch(stack.front_name)
        wait_until(lambda: listens(proxy.port))
        assert {proxy.get("/health/ready").status_code for _ in range(20)} == {503}
    wait_until(lambda: proxy.get("/health/ready").status_code == 200, BACK_SECONDS)
