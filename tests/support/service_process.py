"""A real server for a test, started as its Procfile says, its log in a file."""

import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.forked.services import ForkedProcess, running_service
from tests.support.processes import ROOT, free_port, listens, wait_until
from tests.support.samples import PNG, SAMPLES, SEVEN_PIXELS

APP = "web_single.predictor:create_app"
ROUTES = [
    pytest.param(APP, id="lean"),
    pytest.param("tests.support.fastapi_apps:without_lean_routes", id="fastapi", marks=pytest.mark.full),
]
"""web_single with lean routes, and with FastAPI's own: nothing may differ but speed."""


@dataclass(frozen=True, slots=True)
class Server:
    """One that listens on a port of this machine, a client of it, and what it has logged."""

    port: int
    process: "subprocess.Popen[bytes] | ForkedProcess"
    log: Path
    client: httpx.Client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers=headers)

    def read(self, body: object, **headers: str) -> httpx.Response:
        """POST /predict with bytes as a PNG, with anything else as JSON."""
        if isinstance(body, bytes):
            return self.client.post("/predict", content=body, headers=PNG | headers)
        return self.client.post("/predict", json=body, headers=headers)

    def read_all(self, bodies: list[Any], at_once: int = 32) -> list[httpx.Response]:
        """The answers to these bodies, in the same order, asked for from several threads."""
        with ThreadPoolExecutor(at_once) as threads:
            return list(threads.map(self.read, bodies))

    def metric(self, name: str, /, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        lines = [line for line in self.get("/metrics").text.splitlines(True) if line.startswith(name)]
        return sum(
            sample.value
            for family in text_string_to_metric_families("".join(lines))  # of all lines, it takes several milliseconds
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def log_lines(self) -> list[dict[str, Any]]:
        """Every line of the log so far, each of which must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def logged(self, **fields: object) -> list[dict[str, Any]]:
        """The lines that have these fields; waits until there is one."""
        return wait_until(lambda: [line for line in self.log_lines() if fields.items() <= line.items()])

    def memory_mb(self, field: str = "VmRSS") -> float:
        """Resident memory now (`VmRSS`), or at its highest (`VmHWM`)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{field}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1000

    def still_reads_right(self) -> None:
        """One picture and one list of pixels, read as they should be."""
        assert self.read((SAMPLES / "seven.png").read_bytes()).json()["digit"] == 7
        assert [digit["digit"] for digit in self.read([{"pixels": SEVEN_PIXELS}] * 2).json()] == [7, 7]


def client_of(port: int, timeout_seconds: float, **headers: str) -> httpx.Client:
    """A client that many threads may share: it keeps all connections.

    Of more than so many idle ones httpcore closes some, also one that another thread has just been given.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    url = f"http://127.0.0.1:{port}"
    # Without `verify=False` each client reads the certificates that it never needs, which takes longer than a request.
    return httpx.Client(base_url=url, timeout=timeout_seconds, headers=headers, limits=limits, verify=False)


@contextmanager
def starting(app: str = APP, /, options: object = "", **settings: object) -> Iterator[Server]:
    """The command of web_single's Procfile, with these settings, perhaps for another app; it may not be ready yet.

    `options` are further ones of uvicorn, which win.
    """
    procfile = (ROOT / "web_single" / "Procfile").read_text()
    command = procfile.split("web_single: ", 1)[1].splitlines()[0].replace(APP, app)
    port = free_port()
    environment = {name.upper(): str(value) for name, value in ({"drain_seconds": 0} | settings).items()}
    environment |= {"WEB_SINGLE_PORT": str(port), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with TemporaryDirectory() as folder, client_of(port, 30) as client:
        log = Path(folder) / "log"
        log.touch()  # a test may look before the service has begun
        with running_service(f"{command} {options}", log, **environment) as process:
            yield Server(port, process, log, client)
        print(log.read_text()[-10_000:])


@contextmanager
def serving(app: str = APP, /, options: object = "", **settings: object) -> Iterator[Server]:
    """The same, once it is ready."""
    with starting(app, options, **settings) as server:
        wait_until(lambda: server.process.poll() is not None or is_ready(server))
        assert server.process.poll() is None, server.log.read_text()
        yield server


def is_ready(server: Server) -> bool:
    return _answers_well(server, "/health/ready")


def is_live(server: Server) -> bool:
    return _answers_well(server, "/health/live")


def _answers_well(server: Server, path: str) -> bool:
    """False as long as the port is closed."""
    if not listens(server.port):
        return False
    try:
        return server.get(path).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def web_server(handler: Callable[..., BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a web server that answers as its handler does, over TLS if there is a context for that."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield f"https://localhost:{server.server_port}" if tls else f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class FileHandler(SimpleHTTPRequestHandler):
    """Serves files and keeps quiet about it."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def web_folder(folder: Path) -> AbstractContextManager[str]:
    """The address of a web server that serves the files of a folder."""
    return web_server(partial(FileHandler, directory=folder))


def ends_at_once(**settings: object) -> str:
    """What a server that cannot start says; it exits with an error, in one line, without having been ready."""
    with starting(**settings) as server:
        wait_until(lambda: server.process.poll() is not None or listens(server.port))
        assert server.process.poll() not in (0, None)
        lines = server.log.read_text().splitlines()
        assert len(lines) == 1, lines
        assert not re.search(r"\[ONNXRuntimeError\]|INVALID_PROTOBUF|Traceback", lines[0])
        return lines[0]
