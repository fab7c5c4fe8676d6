"""The container's health check: says no where the service is not ready, and costs little."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from common.service.process.healthcheck import is_ready
from tests.support.processes import ROOT


@pytest.fixture
def service_that_is_not_ready() -> Iterator[int]:
    class NotReady(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

    with HTTPServer(("127.0.0.1", 0), NotReady) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_health_check_exits_1_where_a_service_is_not_ready(service_that_is_not_ready: int) -> None:
    check = [sys.executable, "-m", "common.service.process.healthcheck", str(service_that_is_not_ready)]
    assert subprocess.run(check, cwd=ROOT, stderr=subprocess.DEVNULL).returncode == 1


def test_the_health_check_loads_nothing_heavy() -> None:
    code = "import sys, common.service.process.healthcheck; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "pydantic", "onnxruntime", "fastapi", "asyncio", "http.client"} & set(modules.split())


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_health_check_finds_a_service_on_either_kind_of_address(family: socket.AddressFamily, address: str) -> None:
    with ready_service(address, family) as port:
        assert is_ready(port)


def test_the_health_check_follows_the_address_that_uvicorn_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with ready_service("127.0.0.9") as port:
        assert not is_ready(port)
        monkeypatch.setenv("UVICORN_HOST", "127.0.0.9")
        assert is_ready(port)


def test_the_health_check_finds_a_service_on_an_address_of_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "127.0.0.9")  # as a container's name gives its own address
    with ready_service("127.0.0.9") as port:
        assert is_ready(port)


@contextmanager
def ready_service(address: str, family: socket.AddressFamily = socket.AF_INET) -> Iterator[int]:
    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    class Server(HTTPServer):
        address_family = family

    with Server((address, 0), Ready) as server:
        thread = Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
