"""A service whose model is busy: probes answer, deadlines are kept, one request too many is rejected immediately."""

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from tests.support.http.problems import is_problem
from tests.support.inputs.pictures import SEVEN_IMAGE, encoded
from tests.support.models.onnx_models import is_busy, slow_pixels, slow_reader
from tests.support.processes import wait_until
from tests.support.service_process import Server, serving


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A busy model, narrow limits: two requests at a time, half a second each, two at most."""
    model = slow_reader(tmp_path_factory.mktemp("models") / "slow.onnx")
    limits = {"max_concurrent_requests": 2, "request_timeout_ms": 500, "max_request_timeout_ms": 15000}
    with serving(model_uri=model, batching="on", model_threads=1, **limits) as server:
        yield server


def test_probes_answer_quickly_while_a_slow_model_is_busy(slow: Server) -> None:
    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(slow.read, slow_pixels(1), **{"X-Request-Timeout-Ms": "4000"})
        seconds = []
        while not busy.done():
            started = monotonic()
            assert slow.get("/health/ready").status_code == 200
            seconds.append(monotonic() - started)
    assert len(seconds) > 5
    assert max(seconds) < 0.5


def test_server_timing_says_what_took_its_time(slow: Server) -> None:
    timing = slow.read(slow_pixels(0.2), **{"X-Request-Timeout-Ms": "4000"}).headers["server-timing"]
    found = {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.]+)", timing)}
    assert found.keys() == {"decode", "queue", "predict", "total"}
    assert 50 < found["predict"] < found["total"]
    assert sum(found.values()) - found["total"] <= found["total"]


# Deadlines


def timed(server: Server, body: object, **headers: str) -> tuple[httpx.Response, float]:
    started = monotonic()
    response = server.read(body, **headers)
    return response, monotonic() - started


@pytest.mark.parametrize(("timeout_ms", "seconds"), [(None, 0.5), pytest.param("200", 0.2, marks=pytest.mark.full)])
def test_a_spent_deadline_is_504_in_time(slow: Server, timeout_ms: str | None, seconds: float) -> None:
    response, took = timed(
        slow, slow_pixels(seconds + 1), **({"X-Request-Timeout-Ms": timeout_ms} if timeout_ms else {})
    )
    is_problem(response, 504, "deadline")
    assert seconds <= took < seconds + 0.45
    wait_until(lambda: slow.read(slow_pixels(0)).status_code == 200)


@pytest.mark.full
def test_a_longer_deadline_than_the_default_is_honoured(slow: Server) -> None:
    response, took = timed(slow, slow_pixels(1.5), **{"X-Request-Timeout-Ms": "4000"})
    assert response.status_code == 200
    assert took > 0.5


@pytest.mark.full
def test_a_deadline_is_capped(tmp_path: Path) -> None:
    limits = {"request_timeout_ms": 100, "max_request_timeout_ms": 300}
    with serving(model_uri=slow_reader(tmp_path / "slow.onnx"), batching="on", model_threads=1, **limits) as server:
        response, took = timed(server, slow_pixels(2), **{"X-Request-Timeout-Ms": "60000"})
        is_problem(response, 504)
        assert 0.3 <= took < 1


@pytest.mark.full
def test_a_spent_deadline_is_504_in_time_while_pictures_wait_to_be_decoded(server: Server) -> None:
    """Decoding them all would take seconds: those that are still waiting at their deadline are not decoded any more."""
    picture = encoded(SEVEN_IMAGE.resize((2048, 2048)))
    with ThreadPoolExecutor(64) as threads:
        asked = [threads.submit(timed, server, picture, **{"X-Request-Timeout-Ms": "500"}) for _ in range(64)]
        answers = [one.result() for one in asked]
    late = [(response, took) for response, took in answers if response.status_code != 200]
    assert late
    for response, took in late:
        is_problem(response, 504, "deadline")
        assert took < 0.5 + 1.5  # sixty-four callers share the CPUs with the service
    started = monotonic()
    server.still_reads_right()
    assert monotonic() - started < 1


# Limits


def test_one_request_too_many_is_503_at_once_while_probes_and_metrics_answer(slow: Server) -> None:
    long = {"X-Request-Timeout-Ms": "15000"}
    with ThreadPoolExecutor(2) as threads:
        busy = [threads.submit(slow.read, slow_pixels(1.5), **long)]
        wait_until(lambda: is_busy(slow))
        busy.append(threads.submit(slow.read, slow_pixels(0), **long))
        wait_until(lambda: slow.metric("queue_rows") == 1)
        started = monotonic()
        response = slow.read(slow_pixels(0))
        assert monotonic() - started < 0.3
        is_problem(response, 503)
        assert int(response.headers["retry-after"]) >= 1
        assert [slow.get(path).status_code for path in ("/health/live", "/health/ready", "/metrics")] == [200] * 3
        assert not any(future.done() for future in busy)
        assert [future.result().status_code for future in busy] == [200, 200]


@pytest.mark.full
def test_a_full_queue_is_503_at_once(tmp_path: Path) -> None:
    with (
        serving(
            model_uri=slow_reader(tmp_path / "slow.onnx"),
            batching="on",
            model_threads=1,
            max_queue_rows=3,
            request_timeout_ms=10_000,
        ) as server,
        ThreadPoolExecutor(4) as threads,
    ):
        running = threads.submit(server.read, slow_pixels(1.5))
        wait_until(lambda: is_busy(server))
        waiting = [threads.submit(server.read, slow_pixels(0)) for _ in range(3)]
        wait_until(lambda: server.metric("queue_rows") == 3 or running.done())
        started = monotonic()
        response = server.read(slow_pixels(0))
        assert monotonic() - started < 0.3
        is_problem(response, 503, "3 rows are waiting")
        assert int(response.headers["retry-after"]) >= 1
        assert [future.result().status_code for future in [running, *waiting]] == [200] * 4


# Clients that leave


def request(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(content) + content


@pytest.mark.parametrize("part", [0.3, 0.9, 1.0])
def test_a_client_that_leaves_harms_nothing(slow: Server, part: float) -> None:
    """In the head, in the body, or while it waits: nothing is left in progress, and the next is answered."""
    content = request(slow_pixels(0.3))
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", slow.port)) as connection:
            connection.sendall(content[: int(len(content) * part)])
    wait_until(lambda: [response.status_code for response in slow.read_all([slow_pixels(0)] * 2)] == [200, 200], 10)
    assert slow.metric("queue_rows") == 0


@pytest.mark.full
def test_a_client_that_leaves_in_the_queue_costs_no_inference(tmp_path: Path) -> None:
    with serving(
        model_uri=slow_reader(tmp_path / "slow.onnx"), batching="on", model_threads=1, request_timeout_ms=10_000
    ) as server:
        with ThreadPoolExecutor(1) as threads:
            busy = threads.submit(server.read, slow_pixels(1))
            wait_until(lambda: is_busy(server))
            before = server.metric("batch_rows_sum")
            connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
            for connection in connections:
                connection.sendall(request(slow_pixels(0)))
            wait_until(lambda: server.metric("queue_rows") == 5 or busy.done())
            assert not busy.done()
            for connection in connections:
                connection.close()
            assert busy.result().status_code == 200
        wait_until(lambda: server.metric("http_requests_total", path="/predict", status="499") == 5)
        assert server.metric("batch_rows_sum") - before in (1, 2)  # the busy one, and what asked whether it is busy
