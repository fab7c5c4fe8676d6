"""A pattern that is served for a measurement: all processes of its Procfile but batch's, together on the servers' CPU.

They run with the defaults of a release. Each is the leader of a session of its own, so that it can be killed by its pid
and started again, as a runner or Kubernetes does.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from benchmarks.support.contestants import MINIMAL, MINIMAL_THREADS
from benchmarks.support.load.questions import PICTURE
from benchmarks.support.machine import on_cpus
from benchmarks.support.servers.signals import signals_held
from benchmarks.support.servers.start import ROOT, START_SECONDS, ServerError, command, end, environment
from tests.support.patterns.procfiles import commands
from tests.support.patterns.start import free_ports
from tests.support.processes import free_port, listens


class Way(NamedTuple):
    """How a contestant is asked for a digit, and which of its processes holds the model."""

    path: str
    predictor: str
    model_setting: str = "MODEL_URI"
    """What names the model's file."""


MINIMAL_APPS = {"minimal": MINIMAL.app, "minimal-threads": MINIMAL_THREADS.app}
WAYS = {
    "minimal": Way("/predict", "minimal"),
    "minimal-threads": Way("/predict", "minimal-threads"),
    "web_single": Way("/predict", "web_single"),
    "synchronous": Way("/letters", "predictor"),
    "microservice_vertical": Way("/predict", "reader", "READER_MODEL_URI"),
    "microservice_horizontal": Way("/predict", "mlp", "MLP_MODEL_URI"),
    "asynchronous": Way("/jobs", "predictor"),
}
"""All that answer over HTTP."""


class Served:
    """The processes of one contestant."""

    def __init__(
        self, name: str, model: Path, cpus: set[int], folder: Path, stack: ExitStack, settings: dict[str, str]
    ) -> None:
        self.name, self.way = name, WAYS[name]
        self._cpus, self._log, self._stack = cpus, folder / f"{name}.log", stack
        if app := MINIMAL_APPS.get(name):
            port = free_port()
            self.commands, ports = {name: command(app)}, {}
        else:
            self.commands, ports = commands(name), free_ports(name)
            port = ports[f"{name.upper()}_PORT"]
        self.url = f"http://127.0.0.1:{port}"
        state = str(folder / "state") + "/"
        self.commands = {process: line.replace(".state/", state) for process, line in self.commands.items()}
        self._environment = environment(model, port) | {variable: str(number) for variable, number in ports.items()}
        del self._environment["MODEL_URI"], self._environment["MODEL_NAME"]  # Procfiles know the models' names
        self._environment |= {self.way.model_setting: str(model)} | settings
        self._redis_port = ports.get(f"{name.upper()}_REDIS_PORT")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_all(self) -> None:
        """Start what is needed to answer, Redis first, and wait for the first digit; raises `ServerError`."""
        for process in sorted(self.commands, key=lambda process: process != "redis"):
            self.start(process)
            while process == "redis" and self._redis_port and not listens(self._redis_port):
                time.sleep(0.05)
        self.await_digit()

    def await_digit(self) -> None:
        """Wait for a whole answer."""
        give_up = time.monotonic() + 2 * START_SECONDS  # all processes start on one CPU
        while not self._answers():
            if time.monotonic() > give_up:
                raise ServerError(f"{self.name} gives no digit; its log ends with\n{self._log.read_text()[-2_000:]}")
            time.sleep(0.1)

    def start(self, process: str) -> None:
        """Start one of the processes."""
        with self._log.open("ab") as log, signals_held(), on_cpus(self._cpus):
            started = subprocess.Popen(
                ("sh", "-c", self.commands[process]),
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._stack.callback(end, started)
        self._processes[process] = started

    def kill_predictor(self) -> None:
        """SIGKILL, which lets it finish nothing, and start it again at once."""
        killed = self._processes[self.way.predictor]
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        self.start(self.way.predictor)

    def empty_log(self) -> None:
        """A minute of it is hundreds of megabytes."""
        os.truncate(self._log, 0)

    def _answers(self) -> bool:
        try:
            headers = {"Content-Type": "application/json"}
            answer = httpx.post(self.url + self.way.path, content=PICTURE, headers=headers)
            if answer.status_code == 202:
                answer = httpx.get(self.url + answer.headers["Location"], params={"wait": 5}, timeout=10)
        except httpx.TransportError:
            return False
        found = answer.json() if answer.is_success else {}
        return bool(found.get("prediction") or found.get("digit")) and not (
            found.get("degraded") or found.get("missing")
        )


@contextmanager
def served(name: str, model: Path, cpus: set[int], folder: Path, **settings: str) -> Iterator[Served]:
    """A contestant that gives whole answers, with these settings; all of its processes are ended."""
    with ExitStack() as stack:
        (own := folder / name).mkdir(exist_ok=True)
        one = Served(name, model, cpus, own, stack, settings)
        one.start_all()
        yield one
