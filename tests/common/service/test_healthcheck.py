"""The container's health check: says no where the service is not ready, and costs little."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

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
    check = [sys.executable, "-m", "common.service.healthcheck", str(service_that_is_not_ready)]
    assert subprocess.run(check, cwd=ROOT, stderr=subprocess.DEVNULL).returncode == 1


def test_the_health_check_loads_nothing_heavy() -> None:
    code = "import sys, common.service.healthcheck; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "pydantic", "onnxruntime", "fastapi", "asyncio"} & set(modules.split())
