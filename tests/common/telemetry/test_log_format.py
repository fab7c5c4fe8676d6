"""The log: lines for people or for programs, no probes in it, nothing twice, and no line that a client has made up."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from common.telemetry.log_format import reconfigure_uvicorn
from tests.support.processes import ROOT, answers, free_port, wait_until
from tests.support.samples import SAMPLES
from tests.support.service_process import Server, serving
from tests.support.terminal import CTRL_C, terminal

SEVEN = (SAMPLES / "seven.png").read_bytes()
OWN = "tests.common.service.test_service:create_app"


def lines(server: Server, text: str) -> list[str]:
    """The lines of the log with this text; waits until there is one."""
    return wait_until(lambda: [line for line in server.log.read_text().splitlines() if text in line])


@pytest.fixture(scope="module")
def text() -> Iterator[Server]:
    """A server that logs for people."""
    with serving(log_format="text") as server:
        yield server


@pytest.fixture(params=["text", pytest.param("json", marks=pytest.mark.full)])
def log_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_text_has_a_short_line_for_each_request_and_nothing_else(text: Server) -> None:
    before = text.log.read_text()
    trace = text.read(SEVEN).headers["traceparent"].split("-")[1]
    (line,) = lines(text, trace[:8])
    assert re.fullmatch(
        rf"\d\d:\d\d:\d\d\.\d\d\d web_single INFO POST /predict 200 \d+\.\d ms .*trace={trace[:8]}", line
    )
    assert text.log.read_text() == f"{before}{line}\n"


def test_health_checks_and_metrics_are_logged_at_debug_only(log_format: str) -> None:
    probes = (
        "/health/live",
        "/health/ready",
        "/metrics",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/mlp/ready",
    )
    with serving(log_format=log_format) as server:
        assert all(server.get(path).status_code == 200 for path in probes)
        server.read(SEVEN)
        lines(server, "/predict")
        assert not any(path in server.log.read_text() for path in probes)
    with serving(log_format=log_format, log_level="DEBUG") as server:
        for path in probes:
            server.get(path)
            assert all("DEBUG" in line for line in lines(server, path))
        server.read(SEVEN)
        assert "INFO" in lines(server, "/predict")[0]


def test_text_has_a_traceback_as_python_prints_it_and_the_trace_of_the_request() -> None:
    with serving(OWN, log_format="text") as server:
        trace = server.get("/broken").headers["traceparent"].split("-")[1]
        (failed,) = lines(server, " ERROR ")
        assert failed.endswith(f"ERROR Exception in ASGI application trace={trace[:8]}")
        log = server.log.read_text()
        assert "Traceback (most recent call last):\n  File " in log
        assert "\nRuntimeError: secret of the house\n" in log


def test_json_has_the_message_of_an_unhandled_error_without_its_line_break() -> None:
    with serving(OWN, log_format="json") as server:
        server.get("/broken")
        (failed,) = [json.loads(line) for line in lines(server, '"exception"')]
    assert failed["message"] == "Exception in ASGI application"
    assert failed["exception"].endswith("RuntimeError: secret of the house")


@pytest.mark.parametrize("path", ["/a%0a12:00:00.000%20web_single%20INFO%20GET%20/secret", "/%1b[2J", "/%c2%9b2J"])
def test_a_client_cannot_write_a_line_or_a_control_character(text: Server, path: str) -> None:
    before = text.log.read_text()
    trace = text.get(path).headers["traceparent"].split("-")[1]
    (line,) = lines(text, trace[:8])
    assert text.log.read_text() == f"{before}{line}\n"
    assert " 404 " in line
    assert line.isprintable()


@pytest.mark.full
def test_colour_on_a_terminal_only_and_where_it_is_forced(text: Server) -> None:
    text.read(SEVEN)
    assert "\x1b" not in lines(text, "/predict")[0]
    with serving(log_format="text", force_color="1") as server:
        server.read(SEVEN)
        assert "\x1b[32m200\x1b[0m" in lines(server, "/predict")[0]
    with serving(log_format="text", force_color="1", no_color="1") as server:
        server.read(SEVEN)
        assert "\x1b" not in lines(server, "/predict")[0]


def test_uvicorn_alone_in_a_terminal_says_where_it_listens_and_logs_in_colour() -> None:
    port = free_port()
    command = (sys.executable, "-m", "uvicorn", "web_single.predictor:create_app", "--factory", "--port", str(port))
    with terminal(*command, folder=ROOT, LOG_FORMAT="text", DRAIN_SECONDS="0") as screen:
        screen.wait_for(f"Uvicorn running on http://127.0.0.1:{port}")
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
        shown = screen.wait_for("\x1b[32m200\x1b[0m")
        assert "Started server process" not in shown
        screen.press(CTRL_C)
        assert screen.exit_status() == 0


FROM_PYTHON = """
import sys, uvicorn
from web_single.predictor import create_app
uvicorn.run(create_app(), port=int(sys.argv[1]))
"""


@pytest.mark.parametrize(
    "start",
    [("-m", "uvicorn", "web_single.predictor:create_app", "--factory", "--port"), ("-c", FROM_PYTHON)],
    ids=["command", "uvicorn.run"],
)
def test_a_request_is_logged_once_where_uvicorn_has_its_access_log(log_format: str, start: tuple[str, ...]) -> None:
    port = free_port()
    command = [sys.executable, *start, str(port)]
    environment = {"LOG_FORMAT": log_format, "DRAIN_SECONDS": "0", "GRPC_PORT": "0"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as server:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health/ready"))
        httpx.post(f"http://127.0.0.1:{port}/predict", content=SEVEN, headers={"Content-Type": "image/png"})
        server.terminate()
        log = server.communicate(timeout=20)[0].decode()
    assert log.count("/predict") == 1
    assert "/health/ready" not in log
    if log_format == "json":  # uvicorn's first two lines come before any of ours
        assert all(json.loads(line) for line in log.splitlines()[2 if "-c" in start else 0 :])


def test_logs_of_uvicorn_that_the_caller_has_configured_stay_as_they_are() -> None:
    own = logging.StreamHandler()
    own.setFormatter(logging.Formatter("%(message)s"))
    access = logging.getLogger("uvicorn.access")
    try:
        access.addHandler(own)
        reconfigure_uvicorn()
        assert own in access.handlers
    finally:
        access.removeHandler(own)


def test_a_line_about_the_model_before_there_is_a_service_has_the_form_too() -> None:
    with serving(log_format="json", batching="off") as server:
        (line,) = lines(server, "request by request")
    assert json.loads(line)["level"] == "WARNING"
