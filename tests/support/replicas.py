"""Three predictors behind Envoy, started as web_single/Procfile.replicas says."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import ROOT, answers, free_port, running, wait_until

NUMBERS = (1, 2, 3)
PROCFILE = dict(re.findall(r"^([\w-]+): (.+)$", (ROOT / "web_single" / "Procfile.replicas").read_text(), re.MULTILINE))
"""Commands by name."""


@dataclass
class Replicas:
    """What runs, by its number; the balancer listens on `port` and `grpc_port`."""

    port: int
    grpc_port: int
    admin_port: int
    ports: int
    grpc_ports: int
    folder: Path
    stack: ExitStack
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, name: str, **settings: object) -> subprocess.Popen[bytes]:
        """A command of the Procfile with these settings, its log in a file."""
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "WEB_SINGLE_PORT": str(self.port),
            "WEB_SINGLE_GRPC_PORT": str(self.grpc_port),
            "ENVOY_ADMIN_PORT": str(self.admin_port),
            "REPLICA_PORTS": str(self.ports),
            "REPLICA_GRPC_PORTS": str(self.grpc_ports),
            **{setting.upper(): str(value) for setting, value in settings.items()},
        }
        command = f"{PROCFILE[name]} >> {self.log(name)} 2>&1"
        return self.stack.enter_context(running("sh", "-c", command, folder=ROOT, **environment))

    def start(self, number: int, **settings: object) -> None:
        """Start a predictor, and wait until it is ready and the balancer knows."""
        self.processes[number] = process = self.run(f"web_single-{number}", **settings)
        wait_until(lambda: process.poll() is not None or answers(f"{self.url(number)}/health/ready"))
        assert process.poll() is None, self.log(f"web_single-{number}").read_text()

    def stop(self, number: int) -> None:
        """End a predictor as an update does: SIGTERM, and wait."""
        self.processes[number].terminate()
        self.processes[number].wait(30)

    def send(self, number: int, what: signal.Signals) -> None:
        self.processes[number].send_signal(what)

    def end(self) -> None:
        """Tell all of them at once to end."""
        for process in self.processes.values():
            process.terminate()

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.ports}{number}"

    def grpc_targets(self) -> list[str]:
        return [f"127.0.0.1:{self.grpc_ports}{number}" for number in NUMBERS]

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def rows_of(self, number: int) -> int:
        """How many rows a predictor has read so far."""
        return int(sample(f"{self.url(number)}/metrics", "batch_rows_sum"))

    def rows(self) -> list[int]:
        """The same of each."""
        return [self.rows_of(number) for number in NUMBERS]

    def stat(self, name: str) -> int:
        """A statistic of the balancer."""
        line = httpx.get(f"http://127.0.0.1:{self.admin_port}/stats", params={"filter": f"^{re.escape(name)}$"}).text
        return int(line.rpartition(":")[2] or 0)

    def healthy(self) -> list[int]:
        """To how many predictors the balancer sends REST and gRPC."""
        return [self.stat(f"cluster.{cluster}.membership_healthy") for cluster in ("rest", "grpc")]

    def await_healthy(self, number: int) -> None:
        """Wait until the balancer sends to so many."""
        wait_until(lambda: self.healthy() == [number] * 2)

    def retries(self) -> int:
        """How often the balancer asked another predictor."""
        return sum(self.stat(f"cluster.{cluster}.upstream_rq_retry") for cluster in ("rest", "grpc"))


@contextmanager
def started_replicas(**settings: object) -> Iterator[Replicas]:
    """All three and the balancer, once each is ready."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        ports, grpc_ports = free_tens(), free_tens()
        replicas = Replicas(free_port(), free_port(), free_port(), ports, grpc_ports, Path(folder), stack)
        with ThreadPoolExecutor(len(NUMBERS)) as threads:
            list(threads.map(lambda number: replicas.start(number, **settings), NUMBERS))
        stack.callback(replicas.end)
        balancer = replicas.run("envoy")
        wait_until(lambda: balancer.poll() is not None or answers(f"http://127.0.0.1:{replicas.port}/health/ready"))
        assert balancer.poll() is None, replicas.log("envoy").read_text()[-2_000:]
        replicas.await_healthy(len(NUMBERS))
        yield replicas
        print(replicas.log("envoy").read_text()[-5_000:])


def free_tens() -> int:
    """A number of four digits: with a replica's number behind it, it is a free port."""
    while True:
        tens = random.randrange(1_100, 3_000)
        with suppress(OSError), ExitStack() as sockets:
            for number in NUMBERS:
                sockets.enter_context(socket.socket()).bind(("127.0.0.1", tens * 10 + number))
            return tens


def sample(url: str, name: str) -> float:
    """The sum of a metric's samples."""
    families = text_string_to_metric_families(httpx.get(url).text)
    return sum(one.value for family in families for one in family.samples if one.name == name)
