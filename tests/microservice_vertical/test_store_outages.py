"""The store fails: what needs it is a 503 in time, what does not goes on, and all is well again when it is back."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from common.training.data import held_out
from tests.support.open_inference.tensors import every_type
from tests.support.processes import wait_until
from tests.support.samples import SEVEN_JSON, SEVEN_PNG
from tests.support.service_process import Server, serving, starting
from tests.support.stack import Stack
from tests.support.vertical.letters import picture
from tests.support.vertical.services import BACK_SECONDS, SLACK_SECONDS, TIMEOUT_MS, another_proxy, hung, keep, kept

pytestmark = pytest.mark.full

IN_TIME = TIMEOUT_MS / 1e3 + SLACK_SECONDS


@contextmanager
def down(stack: Stack) -> Iterator[None]:
    """No process listens; afterwards a new one has the data of the old one."""
    stack.stop("redis")
    try:
        yield
    finally:
        stack.start("redis")


@contextmanager
def without_store(stack: Stack, kind: str) -> Iterator[None]:
    """Either of them."""
    with down(stack) if kind == "down" else hung(stack, "redis"):
        yield


faults = pytest.mark.parametrize("kind", ["down", "hung"])


@faults
def test_pattern_without_its_store_reads_sent_pictures_and_rejects_ids_in_time(
    stack: Stack, proxy: Server, kind: str
) -> None:
    image_id = kept(proxy, SEVEN_PNG)
    with without_store(stack, kind):
        for body in (image_id, SEVEN_JSON):
            answer, seconds = timed(partial(ask, proxy, "/predict", body))
            assert seconds < IN_TIME
            if body is SEVEN_JSON:
                assert answer.json()["digit"] == 7, answer.text
            else:
                refused(answer, timeouts=kind == "hung")
        answer, seconds = timed(partial(ask, proxy, "/images", SEVEN_JSON))
        assert seconds < IN_TIME
        refused(answer)
        assert "the store does not answer" in answer.json()["detail"]
        assert proxy.get("/health/ready").status_code == 200
    print(f"{kind}: back after {back(lambda: proxy.read(image_id)):.2f} s")


def ask(proxy: Server, path: str, body: object) -> httpx.Response:
    """A request that has little time."""
    return proxy.client.post(path, json=body, headers={"X-Request-Timeout-Ms": str(TIMEOUT_MS)})


def timed(call: Callable[[], httpx.Response]) -> tuple[httpx.Response, float]:
    """The answer, and how many seconds it took."""
    began = time.monotonic()
    return call(), time.monotonic() - began


def refused(answer: httpx.Response, timeouts: bool = False) -> None:
    """A problem that says when to come back; `timeouts`: or that a predictor waited for the store too long."""
    assert answer.headers["content-type"] == "application/problem+json"
    if not (timeouts and answer.status_code == 504):
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"] == "1"


def back(call: Callable[[], httpx.Response]) -> float:
    """After how many seconds it is answered by a seven again."""
    began = time.monotonic()
    wait_until(lambda: (answer := call()).status_code == 200 and answer.json()["digit"] == 7, BACK_SECONDS)
    return time.monotonic() - began


@faults
def test_pictures_are_read_while_many_letters_cannot_be_loaded(stack: Stack, proxy: Server, kind: str) -> None:
    """The services are well, so nothing that the store does may close the way to them."""
    image_id = kept(proxy, SEVEN_PNG)
    with without_store(stack, kind):
        with ThreadPoolExecutor(10) as threads:
            for answer in threads.map(lambda _: ask(proxy, "/predict", image_id), range(10)):
                refused(answer, timeouts=kind == "hung")
        answer = proxy.read(SEVEN_PNG)
    back(lambda: proxy.read(image_id))
    assert (answer.status_code, answer.json().get("digit")) == (200, 7), answer.text


@pytest.mark.parametrize("seconds", [0.3, 1.5])
def test_letters_are_not_mixed_up_after_a_store_hung(stack: Stack, proxy: Server, seconds: float) -> None:
    """A late answer of the store belongs to a request that is over."""
    scans = held_out()
    clear = [int((scans.labels == digit).argmax()) for digit in range(10)]
    bodies = [kept(proxy, picture(scans.features[number])) for number in clear]
    assert [proxy.read(body).json()["digit"] for body in bodies] == list(range(10))
    with ThreadPoolExecutor(20) as threads, hung(stack, "redis"):
        late = [threads.submit(ask, proxy, "/predict", bodies[number % 10]) for number in range(20)]
        kept_late = [threads.submit(ask, proxy, "/images", SEVEN_JSON) for _ in range(5)]
        time.sleep(seconds)
    for number, future in enumerate(late):
        if (answer := future.result()).status_code == 200:
            assert answer.json()["digit"] == number % 10
    assert all(future.result().status_code in (201, 503) for future in kept_late)
    back(lambda: proxy.read(kept(proxy, SEVEN_JSON)))
    for _ in range(3):
        answers = proxy.read_all(bodies, 10)
        assert [answer.json().get("digit") for answer in answers] == list(range(10))


def test_stored_letter_survives_a_kill_of_the_store(stack: Stack, proxy: Server) -> None:
    """A client that got an id may rely on it, since the store replies only when it is on disk."""
    image_id = kept(proxy, SEVEN_PNG)
    stack.servers["redis"].process.kill()
    stack.servers["redis"].process.wait()
    stack.start("redis")
    print(f"killed: back after {back(lambda: proxy.read(image_id)):.2f} s")


def test_full_store_is_a_503_and_its_letters_can_be_read(stack: Stack, proxy: Server) -> None:
    image_id = kept(proxy, SEVEN_PNG)
    stack.store().config_set("maxmemory", 1)
    try:
        refused(keep(proxy, SEVEN_PNG))
        assert proxy.read(image_id).json()["digit"] == 7
    finally:
        stack.store().config_set("maxmemory", 256 * 2**20)
    assert keep(proxy, SEVEN_PNG).status_code == 201


# Who has no way to the store


def test_404_of_a_service_without_retrieve_is_a_502(stack: Stack) -> None:
    """Its 404 says that it has no such path; a caller of a lost letter would give up."""
    image_id = kept(stack.front, SEVEN_PNG)
    settings = {"retrieval": "predictor"}
    with (
        serving(model_name="mlp") as other,
        another_proxy(stack, reader_url=f"{other.url}/v2/models/mlp", **settings) as proxy,
    ):
        answer = proxy.read(image_id)
    assert (answer.status_code, answer.json().get("backend")) == (502, "reader"), answer.text


def test_predictor_whose_model_does_not_fit_does_not_start_and_says_why(tmp_path: Path) -> None:
    """No letter is sent to it, so none can fail at `/retrieve`."""
    model = every_type(tmp_path / "other.onnx")
    with starting("microservice_vertical.predictor:create_app", model_uri=model) as other:
        assert other.process.wait(30) != 0
        reason = "the model other reads no digits: expected one input of 64 floats a row"
        assert other.log.read_text() == f"cannot start: {reason}\n"
