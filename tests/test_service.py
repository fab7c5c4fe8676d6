"""What every service has: probes, problems, timing, deadlines, limits, an OpenAPI document. Real servers, real HTTP."""

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
from fastapi import FastAPI
from pydantic import TypeAdapter

from common.digits import Digit
from common.errors import Problem
from common.service import Service
from common.settings import ServiceSettings
from tests.processes import output_of, wait_until
from tests.servers import SEVEN_PIXELS, Server, is_busy, serving, slow_pixels, slow_reader

PROBLEM_JSON = "application/problem+json"
JSON = {"Content-Type": "application/json"}


def create_app() -> FastAPI:
    """A service with plain FastAPI endpoints, as anybody would add them."""
    app = Service("own", ServiceSettings.from_environment())

    @app.get("/square/{number}")
    async def square(number: int) -> int:
        return number * number

    @app.get("/teapot")
    async def teapot() -> None:
        raise Problem(418, "expected coffee beans, got tea", {"X-Pot": "short"}, spout=1)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("secret of the house")

    return app


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    with serving("tests.test_service:create_app") as server:
        yield server


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A busy model, narrow limits: two requests at a time, half a second each, two at most."""
    model = slow_reader(tmp_path_factory.mktemp("models") / "slow.onnx")
    limits = {"max_concurrent_requests": 2, "request_timeout_ms": 500, "max_request_timeout_ms": 4000}
    with serving(model_uri=model, model_threads=1, **limits) as server:
        yield server


def is_problem(response: httpx.Response, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM_JSON
    problem = response.json()
    assert problem["status"] == status
    assert {"type", "title", "detail"} <= problem.keys()
    assert all(word in problem["detail"] for word in words), problem["detail"]


# Probes


@pytest.mark.parametrize(("path", "answer"), [("/health/live", {"live": True}), ("/health/ready", {"ready": True})])
def test_probes_answer(server: Server, path: str, answer: dict[str, bool]) -> None:
    response = server.get(path)
    assert (response.status_code, response.json()) == (200, answer)


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


# Problems


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "words"),
    [
        ("GET", "/nowhere", {}, b"", 404, []),
        ("POST", "/health/live", {}, b"", 405, []),
        ("GET", "/predict", {}, b"", 405, ["POST", "GET"]),
        ("PUT", "/predict", {}, b"", 405, ["POST", "PUT"]),
        ("POST", "/predict", JSON, b" " * 5_000_000, 413, ["4194304"]),
        (
            "POST",
            "/predict",
            {"Content-Type": "text/plain"},
            b"7",
            415,
            ["application/json", "image/png", "text/plain"],
        ),
        ("POST", "/predict", JSON, b"{", 400, ["not JSON", "expected"]),
        ("POST", "/predict", JSON, b"{}", 422, ["pixels", "expected"]),
    ],
)
def test_a_refusal_is_a_problem_document(
    server: Server, method: str, path: str, headers: dict[str, str], body: bytes, status: int, words: list[str]
) -> None:
    is_problem(server.client.request(method, path, headers=headers, content=body), status, *words)


@pytest.mark.parametrize(("path", "wrong", "allowed"), [("/predict", "GET", "POST"), ("/health/live", "POST", "GET")])
def test_a_wrong_method_is_told_the_right_one(server: Server, path: str, wrong: str, allowed: str) -> None:
    assert server.client.request(wrong, path).headers["allow"] == allowed


def test_an_endpoint_of_fastapi_answers_problems_too(own: Server) -> None:
    assert own.get("/square/12").json() == 144
    is_problem(own.get("/square/twelve"), 422, "path.number", "twelve")


def test_a_problem_keeps_its_headers_and_further_members(own: Server) -> None:
    response = own.get("/teapot")
    is_problem(response, 418, "expected coffee beans")
    assert response.headers["x-pot"] == "short"
    assert response.json()["spout"] == 1


def test_a_failure_tells_the_log_everything_and_the_caller_nothing_but_its_trace(own: Server) -> None:
    response = own.get("/broken")
    is_problem(response, 500)
    assert "secret" not in response.text
    trace_id = response.headers["traceparent"].split("-")[1]
    (failure,) = [line for line in own.logged(trace_id=trace_id) if "exception" in line]
    assert "secret of the house" in failure["exception"]
    assert "RuntimeError" not in "".join(line["message"] for line in own.log_lines() if "message" in line)


# Timing


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json", "/no", "/predict"]
)
def test_every_answer_carries_its_timing(server: Server, path: str) -> None:
    assert re.search(r"(^|, )total;dur=\d+\.\d+$", server.get(path).headers["server-timing"])


def test_a_prediction_tells_what_took_its_time(slow: Server) -> None:
    timing = slow.read(slow_pixels(0.2)).headers["server-timing"]
    found = {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.]+)", timing)}
    assert found.keys() == {"decode", "queue", "predict", "total"}
    assert 50 < found["predict"] < found["total"]
    assert sum(found.values()) - found["total"] <= found["total"]


# Deadlines


def timed(server: Server, seconds: float, **headers: str) -> tuple[httpx.Response, float]:
    started = monotonic()
    response = server.read(slow_pixels(seconds), **headers)
    return response, monotonic() - started


@pytest.mark.parametrize(("timeout_ms", "seconds"), [(None, 0.5), ("200", 0.2)])
def test_a_spent_deadline_is_504_in_time(slow: Server, timeout_ms: str | None, seconds: float) -> None:
    response, took = timed(slow, seconds + 1, **({"X-Request-Timeout-Ms": timeout_ms} if timeout_ms else {}))
    is_problem(response, 504, "deadline")
    assert seconds <= took < seconds + 0.45
    wait_until(lambda: slow.read(slow_pixels(0)).status_code == 200)


@pytest.mark.full
def test_a_longer_deadline_than_the_default_is_honoured(slow: Server) -> None:
    response, took = timed(slow, 1.5, **{"X-Request-Timeout-Ms": "4000"})
    assert response.status_code == 200
    assert took > 0.5


@pytest.mark.full
def test_a_deadline_is_capped(tmp_path: Path) -> None:
    limits = {"request_timeout_ms": 100, "max_request_timeout_ms": 300}
    with serving(model_uri=slow_reader(tmp_path / "slow.onnx"), model_threads=1, **limits) as server:
        response, took = timed(server, 2, **{"X-Request-Timeout-Ms": "60000"})
        is_problem(response, 504)
        assert 0.3 <= took < 1


@pytest.mark.parametrize("value", ["soon", "-1", "0", "1.5", "1e3", "", "٣", "9" * 5000])
def test_a_malformed_deadline_is_400(server: Server, value: str) -> None:
    headers = {b"X-Request-Timeout-Ms": value.encode()}
    response = server.client.post("/predict", headers=headers, json={"pixels": SEVEN_PIXELS})
    is_problem(response, 400, "X-Request-Timeout-Ms", "2000")


def test_a_body_that_does_not_arrive_by_the_deadline_is_408(server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nX-Request-Timeout-Ms: 200\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        started = monotonic()
        connection.sendall(head + b"half")
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert 0.19 < monotonic() - started < 0.6  # the event loop counts in whole milliseconds
        assert PROBLEM_JSON.encode() in answer
    server.still_reads_right()


# Limits


def test_one_request_too_many_is_503_at_once_while_probes_and_metrics_answer(slow: Server) -> None:
    long = {"X-Request-Timeout-Ms": "4000"}
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
            model_uri=slow_reader(tmp_path / "slow.onnx"), model_threads=1, max_queue_rows=3, request_timeout_ms=10_000
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


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_12_mb_is_413_for_a_plain_client(server: Server, chunked: bool) -> None:
    body = b"[" + b"0," * 6_000_000 + b"0]"
    response = server.client.post("/predict", headers=JSON, content=iter([body]) if chunked else body)
    is_problem(response, 413, "4194304")


def test_a_body_of_12_mb_is_413_for_curl(server: Server, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"[" + b"0," * 6_000_000 + b"0]")
    options = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--data-binary"]
    assert output_of("curl", *options, f"@{tmp_path / 'body'}", f"{server.url}/predict") == "413"


def test_of_a_body_without_end_no_more_is_read_than_a_client_may_send_by_mistake(server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    megabyte = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(head)
        with pytest.raises(OSError, match=r"reset|Broken pipe|timed out"):
            connection.sendall(megabyte * 64)
    assert server.memory_mb("VmHWM") < 200


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
    with serving(model_uri=slow_reader(tmp_path / "slow.onnx"), model_threads=1, request_timeout_ms=10_000) as server:
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


# The OpenAPI document


@pytest.fixture(scope="module")
def document(server: Server) -> Any:
    return server.get("/openapi.json").json()


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_in_the_openapi_document_leads_somewhere(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    found = set(references(document))
    assert found
    assert found <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def test_the_openapi_document_describes_predict_with_both_kinds_of_body(document: Any) -> None:
    predict = document["paths"]["/predict"]["post"]
    assert predict["requestBody"]["content"].keys() == {"application/json", "image/png", "image/jpeg"}
    assert {"200", "400", "405", "408", "413", "415", "422", "503", "504"} <= predict["responses"].keys()
    assert all(
        answer["content"].keys() == {PROBLEM_JSON} for status, answer in predict["responses"].items() if status != "200"
    )


def test_the_examples_of_the_openapi_document_work(server: Server, document: Any) -> None:
    (example,) = document["components"]["schemas"]["Picture"]["examples"]
    assert server.read(example).json()["digit"] == 7


def test_answers_are_as_the_openapi_document_says(server: Server) -> None:
    picture = {"pixels": SEVEN_PIXELS}
    assert Digit.model_validate(server.read(picture).json(), extra="forbid").digit == 7
    digits = TypeAdapter(list[Digit]).validate_python(server.read([picture] * 3).json(), extra="forbid")
    assert len(digits) == 3


def test_the_documentation_page_is_served(server: Server) -> None:
    response = server.get("/docs")
    assert response.status_code == 200
    assert "/openapi.json" in response.text
