"""Metrics: what Prometheus scrapes is what happened, and callers cannot make it grow."""

import hashlib
import random
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.models.onnx_models import is_busy, slow_pixels, slow_reader
from tests.support.processes import wait_until
from tests.support.samples import MLP, SAMPLES, SEVEN_PIXELS
from tests.support.service_process import Server, serving

PICTURE = {"pixels": SEVEN_PIXELS}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def used() -> Iterator[Server]:
    """One for the tests that do not count."""
    with serving() as server:
        yield server


@pytest.mark.promtool
def test_promtool_is_content(used: Server) -> None:
    used.read(PICTURE)
    used.get("/nowhere")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=used.get("/metrics").text, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_requests_and_their_latency_are_counted_by_route_and_status(server: Server) -> None:
    for _ in range(3):
        server.read(PICTURE)
    server.read({})
    assert server.metric("http_requests_total", method="POST", path="/predict", status="200") == 3
    assert server.metric("http_requests_total", method="POST", path="/predict", status="422") == 1
    assert server.metric("http_request_duration_seconds_count", path="/predict") == 4
    assert 0 < server.metric("http_request_duration_seconds_sum", path="/predict") < 4


def test_rows_of_batches_are_the_rows_that_were_read(server: Server) -> None:
    server.read_all([PICTURE] * 30 + [[PICTURE] * 10] * 5 + [(SAMPLES / "four.png").read_bytes()] * 5)
    assert server.metric("batch_rows_sum") == 85
    assert 2 <= server.metric("batch_rows_count") <= 40
    assert server.metric("batch_run_seconds_count") == server.metric("batch_rows_count")
    assert server.metric("queue_wait_seconds_count") >= 1
    assert server.metric("queue_rows") == 0


@pytest.mark.full
def test_requests_in_flight_are_seen(tmp_path: Path) -> None:
    with serving(model_uri=slow_reader(tmp_path / "slow.onnx"), model_threads=1, request_timeout_ms=10_000) as server:
        with ThreadPoolExecutor(3) as threads:
            futures = [threads.submit(server.read, slow_pixels(0.8)) for _ in range(3)]
            wait_until(lambda: server.metric("requests_in_flight") == 3)
            assert all(future.result().status_code == 200 for future in futures)
        wait_until(lambda: server.metric("requests_in_flight") == 0)


def test_the_depth_of_the_queue_and_the_wait_in_it_are_seen(tmp_path: Path) -> None:
    with serving(model_uri=slow_reader(tmp_path / "slow.onnx"), model_threads=1, request_timeout_ms=10_000) as server:
        with ThreadPoolExecutor(8) as threads:
            futures = [threads.submit(server.read, slow_pixels(0.8))]
            wait_until(lambda: is_busy(server))
            futures += [threads.submit(server.read, slow_pixels(0.8)) for _ in range(7)]
            wait_until(lambda: 1 <= server.metric("queue_rows") <= 7)
            assert all(future.result().status_code == 200 for future in futures)
        assert server.metric("queue_rows") == 0
        assert server.metric("queue_wait_seconds_sum") > 0.2
        assert server.metric("batch_rows_sum") >= 8
        assert server.metric("batch_run_seconds_sum") > 0.4


def test_metrics_name_the_model_and_its_version(used: Server) -> None:
    version = hashlib.sha256(MLP.read_bytes()).hexdigest()[:12]
    assert used.metric("model_info", name="mlp", version=version) == 1


def test_whatever_callers_ask_for_the_number_of_series_is_bounded(used: Server) -> None:
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "LOCK", "SEARCH", "PURGE"]
    rng = random.Random(1)
    for number in range(300):
        method = rng.choice([*methods, f"METHOD{number}"])
        path = rng.choice([f"/{number}", f"/predict/{number}", f"/predict?x={number}", f"/health/{number}", "/predict"])
        try:
            used.client.request(method, path)
        except httpx.RemoteProtocolError:
            continue  # uvicorn hangs up on a method that is none
    series = [line for line in used.get("/metrics").text.splitlines() if line.startswith("http_requests_total{")]
    assert len(series) <= 40, series
    assert not any(f"METHOD{number}" in line for line in series for number in range(300))
