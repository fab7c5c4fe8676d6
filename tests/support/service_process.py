"""A real server for a test, started as its Procfile says, its log in a file; and a reader that takes its time."""

import json
import os
import re
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from prometheus_client.parser import text_string_to_metric_families

from common.domain.digits import SEVEN
from tests.support.processes import ROOT, free_port, running, wait_until

APP = "web_single.predictor:create_app"
SAMPLES = ROOT / "common" / "samples"
MLP = ROOT / "common" / "models" / "mlp.onnx"
SEVEN_PIXELS: list[float] = [float(cell) for row in SEVEN for cell in row]
PNG = {"Content-Type": "image/png"}


@dataclass(frozen=True, slots=True)
class Server:
    """One that listens on a port of this machine, a client of it, and what it has logged."""

    port: int
    process: subprocess.Popen[bytes]
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
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.get("/metrics").text)
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
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=timeout_seconds, headers=headers, limits=limits)


@contextmanager
def starting(app: str = APP, /, **settings: object) -> Iterator[Server]:
    """The command of web_single's Procfile, with these settings, perhaps for another app; it may not be ready yet."""
    procfile = (ROOT / "web_single" / "Procfile").read_text()
    command = procfile.split("web_single: ", 1)[1].splitlines()[0].replace(APP, app)
    port = free_port()
    environment = {name.upper(): str(value) for name, value in ({"drain_seconds": 0} | settings).items()}
    environment |= {"WEB_SINGLE_PORT": str(port), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with TemporaryDirectory() as folder, client_of(port, 30) as client:
        log = Path(folder) / "log"
        with running("sh", "-c", f"{command} > {log} 2>&1", folder=ROOT, **environment) as process:
            yield Server(port, process, log, client)
        print(log.read_text()[-10_000:])


@contextmanager
def serving(app: str = APP, /, **settings: object) -> Iterator[Server]:
    """The same, once it is ready."""
    with starting(app, **settings) as server:
        wait_until(lambda: server.process.poll() is not None or is_ready(server))
        assert server.process.poll() is None, server.log.read_text()
        yield server


def is_ready(server: Server) -> bool:
    try:
        return server.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def web_server(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a web server that answers as its handler does."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
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


def tensor(name: str, shape: list[int | str | None], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    **constants: Any,
) -> str:
    """An ONNX file of these nodes; the constants become initializers."""
    initializers = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 2)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return str(path)


def slow_pixels(seconds: float) -> dict[str, list[float]]:
    """A picture of a seven that the slow reader looks at for so long."""
    return {"pixels": [seconds, *SEVEN_PIXELS[1:]]}


def is_busy(server: Server) -> bool:
    """Whether a batch is running that leaves a request of 50 ms no time."""
    return server.read(slow_pixels(0), **{"X-Request-Timeout-Ms": "50"}).status_code == 504


def slow_reader(path: Path) -> str:
    """The mlp reader, slowed down: what stands in the top left pixel is how many seconds a batch takes."""
    return _slowed(path, 1 / _seconds_per_step())


@cache
def _seconds_per_step() -> float:
    with TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(_slowed(Path(folder) / "slow.onnx", 100), options)
        run = partial(session.run, None, {"features": np.ones((1, 64), np.float32)})
        return min(timeit.repeat(run, timer=time.process_time, repeat=5, number=1)) / 100  # of CPU: others are busy too


def _slowed(path: Path, steps_per_second: float) -> str:
    """The graph of mlp.onnx, and a loop of as many steps as column 0 of the rows says, with no effect on the result."""
    model = onnx.load(MLP)
    step = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "unit"], ["next_state"]),
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
        ],
        "step",
        [tensor("i", [], TensorProto.INT64), tensor("go_on", [], TensorProto.BOOL), tensor("state", [256, 256])],
        [tensor("goes_on", [], TensorProto.BOOL), tensor("next_state", [256, 256])],
    )
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["quick_probabilities" if name == "probabilities" else name for name in names]
    model.graph.node.extend(
        [
            helper.make_node("Slice", ["features", "zero", "one", "one"], ["corner"]),
            helper.make_node("ReduceMax", ["corner"], ["seconds"], keepdims=0),
            helper.make_node("Mul", ["seconds", "steps_per_second"], ["wanted"]),
            helper.make_node("Add", ["wanted", "few"], ["float_steps"]),
            helper.make_node("Cast", ["float_steps"], ["steps"], to=TensorProto.INT64),
            helper.make_node("Mul", ["unit", "seconds"], ["start"]),
            helper.make_node("Loop", ["steps", "", "start"], ["end"], body=step),
            helper.make_node("ReduceMax", ["end"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "nothing"], ["no_effect"]),
            helper.make_node("Add", ["quick_probabilities", "no_effect"], ["probabilities"]),
        ]
    )
    constants = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "few": np.float32(3),
        "nothing": np.float32(0),
        "unit": np.eye(256, dtype=np.float32),
        "steps_per_second": np.float32(steps_per_second),
    }
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items())
    onnx.save(model, path)
    return str(path)


POISON = 16
"""What the poison reader cannot read in the top left pixel; no scan has that much ink there."""


def poisoned(pixel: float = POISON) -> dict[str, list[float]]:
    """A picture of a seven that makes the poison reader fail."""
    return {"pixels": [pixel, *SEVEN_PIXELS[1:]]}


def poison_reader(path: Path) -> str:
    """The mlp reader, which looks up something by the top left pixel, and fails where that is `POISON`."""
    model = onnx.load(MLP)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["quick_probabilities" if name == "probabilities" else name for name in names]
    model.graph.node.extend(
        [
            helper.make_node("Slice", ["features", "zero", "one", "one"], ["corner"]),
            helper.make_node("Cast", ["corner"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "place"], ["found"]),
            helper.make_node("Add", ["quick_probabilities", "found"], ["probabilities"]),
        ]
    )
    constants = {"zero": np.array([0]), "one": np.array([1]), "table": np.zeros(POISON, np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in constants.items())
    onnx.save(model, path)
    return str(path)
