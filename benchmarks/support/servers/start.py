"""Starts the contestants, each a uvicorn process on the server's CPU, started as web_single/Procfile starts ours.

Its output, our request log included, goes to a file, as cheap a place as a container's log has.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from benchmarks.support.contestants import OURS_APP, Contestant
from benchmarks.support.load.questions import MODEL_NAME, PICTURE
from benchmarks.support.machine import Cpus, on_cpus
from benchmarks.support.servers.signals import signals_held
from tests.support.processes import free_port

ROOT = Path(__file__).parents[3]
START_SECONDS = 30.0
PASSED_ON = ("HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR")
TICKS = os.sysconf("SC_CLK_TCK")


class ServerError(Exception):
    """A server does not start."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs, and the seconds from its start to its first answer."""

    contestant: Contestant
    url: str
    pid: int
    log: BinaryIO
    ready_seconds: float

    @property
    def name(self) -> str:
        """The contestant's."""
        return self.contestant.name

    def cpu_seconds(self) -> float:
        """What all its threads have used so far, in the program and in the kernel."""
        return cpu_seconds(self.pid)

    def resident_mb(self) -> float:
        """Memory that is in use, shared libraries included."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def forget_log(self) -> None:
        """Empty its log: a minute of it is hundreds of megabytes."""
        self.log.truncate(0)


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have used so far, in the program and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS  # utime and stime; the first field here is the state


@contextmanager
def running(contestant: Contestant, model: Path, cpus: Cpus, folder: Path) -> Iterator[Server]:
    """A server that is ready, with its log in `folder`; it is ended by its pid."""
    question, port = contestant.question, free_port()
    grpc_port = free_port() if question.over_grpc else 0
    address = f"grpc://127.0.0.1:{grpc_port}" if question.over_grpc else f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        log = stack.enter_context((folder / f"{model.stem}-{port}.log").open("ab"))
        started = time.monotonic()
        with signals_held(), on_cpus(cpus.server):
            process = subprocess.Popen(
                ("sh", "-c", command(contestant.app)),
                cwd=ROOT,
                env=environment(model, port, grpc_port),
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that Ctrl-C reaches only us
            )
            stack.callback(end, process)
        await_answer(process, f"http://127.0.0.1:{port}/predict", Path(log.name))
        yield Server(contestant, address + question.path, process.pid, log, time.monotonic() - started)


def command(app: str) -> str:
    """The command in our Procfile, for another app: the same server, options and environment."""
    lines = (ROOT / "web_single" / "Procfile").read_text().splitlines()
    ours = next(line.partition(":")[2].strip() for line in lines if line.startswith("web_single:"))
    if OURS_APP not in ours or "exec uvicorn" not in ours:
        raise SystemExit(f"expected `exec uvicorn {OURS_APP}` in web_single/Procfile, got: {ours}")
    return ours.replace(OURS_APP, app)


def environment(model: Path, port: int, grpc_port: int = 0) -> dict[str, str]:
    """Our settings' defaults, whatever the shell has; one thread for the model, as there is one CPU."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "WEB_SINGLE_PORT": str(port),
        "GRPC_PORT": str(grpc_port),
        "MODEL_URI": str(model),
        "MODEL_NAME": MODEL_NAME,
        "MODEL_THREADS": "1",
        "LOG_LEVEL": "INFO",
        "LOG_FORMAT": "json",
        "DRAIN_SECONDS": "0",
        "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime telemetry is disabled, as in our services
    }


def await_answer(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until a picture is answered, which proves more than any probe; raises `ServerError` with the log's end."""
    give_up = time.monotonic() + START_SECONDS
    with httpx.Client(headers={"Content-Type": "application/json"}, timeout=START_SECONDS) as client:
        while process.poll() is None and time.monotonic() < give_up:
            with suppress(httpx.TransportError):
                answer = client.post(url, content=PICTURE)
                if answer.status_code == 200 and "digit" in answer.json():
                    return
                break
            time.sleep(0.01)
    raise ServerError(f"the server at {url} gives no prediction; its log ends with\n{log.read_text()[-2000:]}")


def end(process: subprocess.Popen[bytes]) -> None:
    """End it, by force where it does not end by itself."""
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
    finally:
        process.kill()
        process.wait()
