"""Metrics: what Prometheus scrapes is what happened, and callers cannot make it grow."""

import hashlib
import random
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from common.service.service import Service
from common.service.settings import ServiceSettings
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
    with serving(
        model_uri=slow_reader(tmp_path / "slow.onnx"), batching="on", model_threads=1, request_timeout_ms=10_000
    ) as server:
        with ThreadPoolExecutor(3) as threads:
            futures = [threads.submit(server.read, slow_pixels(0.8)) for _ in range(3)]
            wait_until(lambda: server.metric("requests_in_flight") == 3)
            assert all(future.result().status_code == 200 for future in futures)
        wait_until(lambda: server.metric("requests_in_flight") == 0)


def test_the_depth_of_the_queue_and_the_wait_in_it_are_seen(tmp_path: Path) -> None:
    with serving(
        model_uri=slow_reader(tmp_path / "slow.onnx"), batching="on", model_threads=1, request_timeout_ms=10_000
    ) as server:
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


@pytest.fixture
def users_own() -> Iterator[Counter]:
    """In the default registry, as prometheus-client shows; the gauge has a name of the service's own."""
    own = Counter("parcels", "Parcels."), Gauge("requests_in_flight", "Another's.")
    own[0].inc(2)
    own[1].set(1_000)
    yield own[0]
    for metric in own:
        REGISTRY.unregister(metric)


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
def test_a_users_metrics_are_on_the_page_of_each_app_and_no_name_is_there_twice(
    users_own: Counter, accept: str
) -> None:
    outer, inner = Service("outer", ServiceSettings()), Service("inner", ServiceSettings())
    outer.mount("/inner", inner)
    parse = parse_openmetrics if accept.startswith("application") else parse_text
    with TestClient(outer) as client:
        for path in ("/metrics", "/inner/metrics"):
            page = client.get(path, headers={"Accept": accept}).text
            names = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")]
            assert len(names) == len({*names}), names
            samples = {sample.name: sample.value for family in parse(page) for sample in family.samples}
            assert samples["parcels_total"] == 2
            assert samples["requests_in_flight"] < 10
            assert {"process_cpu_seconds_total", "python_info", "python_gc_collections_total"} <= samples.keys()
    assert outer.metrics.registry.get_sample_value("parcels_total") == 2
