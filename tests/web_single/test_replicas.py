"""Three predictors behind Envoy: who gets what, and what a caller sees of one that dies, hangs, or is busy (W3)."""

import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import yaml

from tests.support.load.grpc_and_rest import Load, grpc_calls, load, rest_calls
from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.processes import ROOT, wait_until
from tests.support.replicas import NUMBERS, PROCFILE, Replicas, sample, started_replicas
from tests.support.samples import SEVEN_PIXELS
from web_single.settings import Settings

pytestmark = pytest.mark.envoy

SEVEN = json.dumps({"pixels": SEVEN_PIXELS}).encode()
IN_FLIGHT = 12
PATIENT = {"X-Request-Timeout-Ms": "9000"}
ENVOY = yaml.safe_load((ROOT / "web_single" / "envoy.yaml").read_text())
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def three() -> Iterator[Replicas]:
    """Shared by the tests that leave them as they were."""
    with started_replicas(drain_seconds=0) as replicas:
        yield replicas


def post(replicas: Replicas, body: bytes = SEVEN, /, **headers: str) -> httpx.Response:
    url = f"http://127.0.0.1:{replicas.port}/predict"
    return httpx.post(url, content=body, headers={"Content-Type": "application/json", **headers}, timeout=20)


def test_replicas_start_like_the_single_server() -> None:
    """But for the ports, the four commands are one."""
    procfile = (ROOT / "web_single" / "Procfile").read_text()
    commands = [procfile.split("web_single: ", 1)[1].splitlines()[0], *(PROCFILE[f"web_single-{n}"] for n in NUMBERS)]
    same = {re.sub(r"\$\{\w+:-\d+\}\d?", "PORT", command.partition("exec ")[2]) for command in commands}
    assert len(same) == 1


@pytest.mark.parametrize("host", [b"", b"Host: localhost\r\n"])
def test_a_client_of_http_1_0_is_answered(three: Replicas, host: bytes) -> None:
    """As nginx is with its default settings, which sends no Host that it has not been given."""
    head = b"POST /predict HTTP/1.0\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", three.port), 10) as client:
        client.sendall(head % (host, len(SEVEN)) + SEVEN)
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    assert answer.split(b" ", 2)[1] == b"200"
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["digit"] == 7


def test_balancer_gives_every_replica_its_share_of_calls(three: Replicas) -> None:
    before = three.rows()
    with rest_calls(three.port) as call:
        for _ in range(90):
            call()
    assert min(after - earlier for after, earlier in zip(three.rows(), before, strict=True)) > 10


def test_answer_and_balancer_log_have_the_callers_trace(three: Replicas) -> None:
    answer = post(three, traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01")
    assert TRACE_ID in answer.headers["traceparent"]
    assert "predict;dur=" in answer.headers["server-timing"]
    with grpc_calls(f"127.0.0.1:{three.grpc_port}", traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01") as call:
        call()
    rest, grpc = wait_until(lambda: logged(three, TRACE_ID, 2))
    assert (rest["path"], rest["status"], rest["attempts"]) == ("/predict", 200, 1)
    assert (grpc["path"], grpc["grpc_status"]) == ("/inference.GRPCInferenceService/ModelInfer", "OK")


def logged(replicas: Replicas, text: str, number: int) -> list[dict[str, object]]:
    """The lines of the balancer's log that have this text, once there are so many."""
    lines = [line for line in replicas.log("envoy").read_text().splitlines() if text in line]
    return [json.loads(line) for line in lines] if len(lines) == number else []


def test_problems_of_a_predictor_reach_the_caller(three: Replicas) -> None:
    """What the caller did wrong is no reason to ask another replica."""
    before = three.retries()
    answer = post(three, **{"X-Request-Timeout-Ms": "soon"})
    assert answer.status_code == 400
    assert "whole milliseconds" in answer.json()["detail"]
    assert three.retries() == before


@pytest.mark.full
@pytest.mark.parametrize("killed", [(2,), (1, 3)], ids=["one", "two"])
def test_killed_predictors_under_load_cause_no_failed_request(killed: tuple[int, ...]) -> None:
    """What was in flight on them is asked of another."""
    with started_replicas(drain_seconds=0) as replicas, rest_and_grpc_load(replicas) as loads:
        for number in killed:
            replicas.send(number, signal.SIGKILL)
        replicas.await_healthy(3 - len(killed))
        for requests in loads:
            requests.goes_on(100)
        assert replicas.retries() > 0


@pytest.mark.full
def test_predictor_gets_no_request_after_sigterm() -> None:
    """So nothing needs to be asked again."""
    with started_replicas(drain_seconds=2) as replicas, rest_and_grpc_load(replicas) as loads:
        replicas.send(2, signal.SIGTERM)
        replicas.await_healthy(2)
        assert replicas.processes[2].poll() is None
        rows = replicas.rows_of(2)
        for requests in loads:
            requests.goes_on(50)
        assert replicas.rows_of(2) <= rows + IN_FLIGHT
        replicas.processes[2].wait(30)
        for requests in loads:
            requests.goes_on(100)
        assert replicas.retries() == 0


@contextmanager
def rest_and_grpc_load(replicas: Replicas) -> Iterator[list[Load]]:
    """Both at once, without a pause; in the end, none has failed."""
    with rest_calls(replicas.port) as rest, grpc_calls(f"127.0.0.1:{replicas.grpc_port}") as grpc:
        with load(rest, IN_FLIGHT // 2, 0) as requests, load(grpc, IN_FLIGHT // 2, 0) as calls:
            yield [requests, calls]
        requests.no_failure()
        calls.no_failure()


@pytest.mark.full
def test_balancer_without_replicas_answers_503_with_retry_after() -> None:
    with started_replicas(drain_seconds=0) as replicas:
        for number in NUMBERS:
            replicas.send(number, signal.SIGKILL)
        replicas.await_healthy(0)
        began = time.monotonic()
        answer = post(replicas)
        assert time.monotonic() - began < 0.3
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["status"] == 503
        assert answer.json()["detail"] == answer.json()["error"] == "no healthy upstream"


@pytest.mark.full
def test_hung_replica_gets_no_more_calls_after_one_deadline() -> None:
    with started_replicas(drain_seconds=0) as replicas:
        replicas.send(1, signal.SIGSTOP)
        try:
            answers = [timed_post(replicas, timeout_ms=300) for _ in range(6)]
            assert all(seconds < 0.6 for _, seconds in answers)
            replicas.await_healthy(2)
            assert [post(replicas).status_code for _ in range(12)] == [200] * 12
        finally:
            replicas.send(1, signal.SIGCONT)


def timed_post(replicas: Replicas, timeout_ms: int) -> tuple[int, float]:
    began = time.monotonic()
    answer = post(replicas, **{"X-Request-Timeout-Ms": str(timeout_ms)})
    assert answer.status_code in (200, 504)
    return answer.status_code, time.monotonic() - began


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Three that take their time, and have room for one request that waits."""
    model = slow_reader(tmp_path_factory.mktemp("slow") / "slow.onnx")
    with started_replicas(drain_seconds=0, model_uri=model, max_queue_rows=1, max_batch_rows=1) as replicas:
        yield replicas


@pytest.mark.full
def test_call_rejected_by_a_busy_replica_is_answered_by_another(slow: Replicas) -> None:
    """Its 503 says that it has not begun, so asking another is safe; and busy is no reason to be skipped."""
    with ThreadPoolExecutor(2) as threads:
        for _ in range(2):  # one is worked on, one waits
            threads.submit(httpx.post, f"{slow.url(1)}/predict", json=slow_pixels(4), headers=PATIENT, timeout=9)
        wait_until(lambda: sample(f"{slow.url(1)}/metrics", "queue_rows") == 1)
        for body in (SEVEN, SEVEN + b" " * 2_000_000):
            wait_until(partial(again_and_again, slow, partial(reads, slow, body)))
        with grpc_calls(f"127.0.0.1:{slow.grpc_port}", "slow") as call:
            wait_until(partial(again_and_again, slow, call))
        assert slow.healthy() == [3, 3]


def reads(replicas: Replicas, body: bytes) -> None:
    assert post(replicas, body).status_code == 200


def again_and_again(replicas: Replicas, call: Callable[[], object]) -> int:
    """How often the balancer asked another replica while we called."""
    before = replicas.retries()
    for _ in NUMBERS:
        call()
    return replicas.retries() - before


@pytest.mark.full
def test_longer_deadline_waits_longer(slow: Replicas) -> None:
    """Longer than the balancer waits for one that sets none."""
    body = json.dumps(slow_pixels(5)).encode()  # perhaps 3.5 s, where this machine is quicker than when it was measured
    assert post(slow, body, **PATIENT).status_code == 200
    began = time.monotonic()
    assert post(slow, body).status_code == 504
    assert time.monotonic() - began < 3.4


def test_limits_of_the_balancer_equal_the_settings() -> None:
    listeners, clusters = ENVOY["static_resources"]["listeners"], ENVOY["static_resources"]["clusters"]
    (rest, grpc) = (listener["filter_chains"][0]["filters"][0]["typed_config"] for listener in listeners)
    settings = Settings()
    longest = f"{settings.max_request_timeout_ms // 1000}s"
    assert routes(grpc)[0]["route"]["max_stream_duration"]["grpc_timeout_header_max"] == longest
    for side in (rest, grpc):
        assert side["route_config"]["virtual_hosts"][0]["request_body_buffer_limit"] == settings.max_body_bytes
    assert float(routes(rest)[0]["route"]["timeout"].removesuffix("s")) > settings.request_timeout_ms / 1000
    for cluster in clusters:
        (often,), (limits,) = cluster["health_checks"], cluster["circuit_breakers"]["thresholds"]
        assert float(often["interval"].removesuffix("s")) * often["unhealthy_threshold"] < settings.drain_seconds
        assert limits["max_requests"] == len(NUMBERS) * settings.max_concurrent_requests


def routes(manager: Any) -> Any:
    return manager["route_config"]["virtual_hosts"][0]["routes"]


def test_container_of_the_balancer_is_as_hardened_as_a_service() -> None:
    common = yaml.safe_load((ROOT / "common" / "compose.yaml").read_text())["services"]["service"]
    compose = yaml.safe_load((ROOT / "web_single" / "docker-compose.yml").read_text())["services"]
    balancer = compose["web_single-replicas"]
    for key in ("read_only", "cap_drop", "security_opt", "restart", "cpus", "mem_limit"):
        assert balancer[key] == common[key], key
    assert balancer["user"].partition(":")[0] != "0"
    assert all(port.startswith("127.0.0.1:") for port in balancer["ports"])
    assert ENVOY["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    assert list(compose) == ["web_single", "web_single-replicas", *(f"web_single-{number}" for number in NUMBERS)]
    assert all(compose[name]["profiles"] == ["replicas"] for name in list(compose)[1:])
