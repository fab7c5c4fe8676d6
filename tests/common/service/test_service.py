"""What every service has: probes, problems, limits of a request, timing. Real servers, real HTTP."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from fastapi import FastAPI

from common.service.problems import Problem
from common.service.service import Service
from common.service.settings import ServiceSettings
from tests.support.http.problems import PROBLEM_JSON, is_problem
from tests.support.processes import output_of
from tests.support.samples import SEVEN_PIXELS
from tests.support.service_process import Server, serving

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
def own() -> Iterator[Server]:
    with serving("tests.common.service.test_service:create_app") as server:
        yield server


# Probes


@pytest.mark.parametrize(("path", "answer"), [("/health/live", {"live": True}), ("/health/ready", {"ready": True})])
def test_probes_answer(server: Server, path: str, answer: dict[str, bool]) -> None:
    response = server.get(path)
    assert (response.status_code, response.json()) == (200, answer)


# Problems


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "words"),
    [
        ("GET", "/nowhere", {}, b"", 404, []),
        ("POST", "/health/live", {}, b"", 405, []),
        ("GET", "/predict", {}, b"", 405, ["POST", "GET"]),
        ("PUT", "/predict", {}, b"", 405, ["POST", "PUT"]),
        pytest.param("POST", "/predict", JSON, b" " * 17_000_000, 413, ["16777216", "MAX_BODY_BYTES"], id="too long"),
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
def test_a_wrong_method_is_answered_with_the_right_one(server: Server, path: str, wrong: str, allowed: str) -> None:
    assert server.client.request(wrong, path).headers["allow"] == allowed


def test_an_endpoint_of_fastapi_answers_problems_too(own: Server) -> None:
    assert own.get("/square/12").json() == 144
    is_problem(own.get("/square/twelve"), 422, "path number", "twelve")


def test_a_problem_keeps_its_headers_and_further_members(own: Server) -> None:
    response = own.get("/teapot")
    is_problem(response, 418, "expected coffee beans")
    assert response.headers["x-pot"] == "short"
    assert response.json()["spout"] == 1


def test_a_failure_is_logged_in_full_and_shows_its_caller_only_the_trace(own: Server) -> None:
    response = own.get("/broken")
    is_problem(response, 500)
    assert "secret" not in response.text
    trace_id = response.headers["traceparent"].split("-")[1]
    (failure,) = [line for line in own.logged(trace_id=trace_id) if "exception" in line]
    assert "secret of the house" in failure["exception"]
    assert "RuntimeError" not in "".join(line["message"] for line in own.log_lines() if "message" in line)


# Limits of a request


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


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_20_mb_is_413_for_a_plain_client(server: Server, chunked: bool) -> None:
    body = b"[" + b"0," * 10_000_000 + b"0]"
    response = server.client.post("/predict", headers=JSON, content=iter([body]) if chunked else body)
    is_problem(response, 413, "16777216")


def test_a_body_of_20_mb_is_413_for_curl(server: Server, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"[" + b"0," * 10_000_000 + b"0]")
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


# Timing


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json", "/no", "/predict"]
)
def test_every_answer_carries_its_timing(server: Server, path: str) -> None:
    assert re.search(r"(^|, )total;dur=\d+\.\d+$", server.get(path).headers["server-timing"])
