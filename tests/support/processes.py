"""Starting, awaiting and ending real processes and containers."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Protocol, TypeVar

import httpx

Answer = TypeVar("Answer")

ROOT = Path(__file__).parents[2]
PATTERNS = sorted(folder.parent.name for folder in ROOT.glob("*/Procfile"))
"""The folders that are patterns."""


WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = range(10_000 + 5_000 * (WORKER % 4), 15_000 + 5_000 * (WORKER % 4))
"""Below those that the system gives to outgoing connections, and other ones in each process that runs tests."""
NEXT_PORTS: Iterator[int] = cycle([*PORTS[os.getpid() % 5_000 :], *PORTS[: os.getpid() % 5_000]])


def free_port() -> int:
    """One that nothing listens on, and that is not given again soon: it is used a moment later."""
    return next(filter(_is_free, NEXT_PORTS))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def wait_until(check: Callable[[], Answer], seconds: float = 30.0) -> Answer:
    """The first true answer of `check`; an AssertionError where there is none in time."""
    end = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < end, f"{check} was not true within {seconds} s"
        time.sleep(0.02)
    return answer


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, verify=False).status_code == 200
    except httpx.TransportError:
        return False


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(*command: str, folder: Path = ROOT, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, ended by SIGTERM, and killed if it does not."""
    process = subprocess.Popen(command, cwd=folder, env=os.environ | environment, start_new_session=True)
    try:
        yield process
    finally:
        end(process)


class Process(Protocol):
    """What `end` needs, of `subprocess.Popen` and of a forked service."""

    @property
    def pid(self) -> int: ...
    def terminate(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


def end(process: Process) -> None:
    """SIGTERM to a process that leads its session, and SIGKILL to all of the session if it stays."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def output_of(*command: str, folder: Path = ROOT, **environment: str) -> str:
    """Run a command to its end, which must be a good one."""
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()
