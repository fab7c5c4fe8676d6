"""A pattern of three small servers, run by `python -m common.run`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.processes import ROOT, free_port, wait_until

SERVER = """
import signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

def end(*_):
    print("ended", flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Ready).serve_forever()
"""
NAMES = ("demo", "worker", "redis")
COMMAND = (sys.executable, "-m", "common.run", "demo/Procfile")


class Running:
    """A run of a Procfile, what it has printed so far, and the processes that it started."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]", ports: dict[str, int], output: Path) -> None:
        self.folder, self.process, self.ports, self.output = folder, process, ports, output

    def lines(self) -> list[str]:
        return self.output.read_text().splitlines()

    def wait_for(self, text: str) -> str:
        """The first line with this text."""
        return wait_until(lambda: next((line for line in self.lines() if text in line), ""))

    def pid(self, name: str) -> int:
        """The process id in the pid file, or 0."""
        with suppress(FileNotFoundError, ValueError):
            return int((self.folder / ".state" / "demo" / f"{name}.pid").read_text())
        return 0

    def pids(self) -> dict[str, int]:
        return {name: self.pid(name) for name in NAMES}


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and no zombie."""
    with suppress(FileNotFoundError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def settings_of(**settings: object) -> dict[str, str]:
    """What a run here finds in its environment."""
    return {"PYTHONPATH": str(ROOT)} | {name: str(value) for name, value in settings.items()}


@contextmanager
def run(folder: Path, **settings: object) -> Iterator[Running]:
    """The run of `demo/Procfile`, on free ports."""
    ports = {name: free_port() for name in ("DEMO_PORT", "DEMO_WORKER_PORT", "DEMO_REDIS_PORT")}
    output = folder / "output"
    with output.open("wb") as out:
        process = subprocess.Popen(
            COMMAND,
            cwd=folder,
            env=os.environ | settings_of(**ports | settings),
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield Running(folder, process, ports, output)
    finally:
        process.terminate()
        process.wait(20)
        print(output.read_text())


def replace(folder: Path, old: str, new: str) -> None:
    procfile = folder / "demo" / "Procfile"
    text = procfile.read_text()
    assert old in text
    procfile.write_text(text.replace(old, new))


def run_to_its_end(folder: Path, **settings: object) -> "subprocess.CompletedProcess[str]":
    """A run that cannot start: its exit status, and what it printed."""
    return subprocess.run(
        COMMAND, cwd=folder, env=os.environ | settings_of(**settings), capture_output=True, text=True, timeout=20
    )
