"""Services as their Procfiles start them, forked from a process that has imported their libraries: twice as quick."""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import IO

from tests.support.processes import ROOT, end, running

EXEC = "exec uvicorn "
FIRST = ("LD_", "PYTHON", "FAKETIME", "MALLOC")
"""Variables that matter before the first import: a service with another value of one gets a Python of its own."""
SAY = """printf '%s\\0' "$#" "$@"; exec env -0"""
"""A program of the shell that says its arguments, and its environment."""


class ForkedProcess:
    """A process of the fork server, with what the tests need of `subprocess.Popen`."""

    def __init__(self, server: "ForkServer", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        if self.returncode is None and self._has_ended(0):
            self.returncode = self._server.ask(self.pid)
            os.close(self._handle)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended."""
        if self.returncode is None and not self._has_ended(timeout):
            raise subprocess.TimeoutExpired("uvicorn", timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def _has_ended(self, seconds: float | None) -> bool:
        """Whether it has, or does so within this time; `select.select` would take no handle above 1,023."""
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1e3))

    def send_signal(self, number: int) -> None:
        """A signal, if it has not ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """`server.py`, of which each process of the tests has one."""

    def __init__(self) -> None:
        command = (sys.executable, "-m", "tests.support.forked.server")
        self.environment = dict(os.environ)
        self._lock = Lock()
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdin
        assert self._process.stdout
        self._requests: IO[str] = self._process.stdin
        self._answers: IO[str] = self._process.stdout
        assert self._answers.readline() == "ready\n"
        atexit.register(self.close)

    def ask(self, request: object) -> int:
        """A number: the pid of a service that is started, or the exit code of one that has ended."""
        with self._lock:
            print(json.dumps(request), file=self._requests, flush=True)
            return int(self._answers.readline())

    def close(self) -> None:
        """End it."""
        self._requests.close()
        self._answers.close()
        self._process.wait()


@cache
def fork_server() -> ForkServer:
    """The one of this process."""
    return ForkServer()


@contextmanager
def running_service(command: str, log: Path, **environment: str) -> "Iterator[subprocess.Popen[bytes] | ForkedProcess]":
    """A command of a Procfile, its output in this file; ended by SIGTERM, and killed if it does not."""
    before, uvicorn, arguments = command.partition(EXEC)
    server = fork_server()
    is_usual = all(
        environment.get(name, os.environ.get(name)) == server.environment.get(name)
        for name in {*environment, *os.environ, *server.environment}
        if name.startswith(FIRST)
    )
    if not uvicorn or not is_usual:
        with running("sh", "-c", f"{{ {command}; }} > {log} 2>&1", folder=ROOT, **environment) as process:
            yield process
        return
    said = subprocess.run(  # the shell fills in the variables of the command
        ["sh", "-c", f'{before} exec sh -c "$SAY" sh {arguments}'],
        cwd=ROOT,
        env=os.environ | environment | {"SAY": SAY},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    count = int(said[0])
    variables = dict(variable.split("=", 1) for variable in said[1 + count :] if variable)
    del variables["SAY"]
    request = {
        "arguments": said[1 : 1 + count],
        "environment": variables,
        "folder": str(ROOT),
        "log": str(log),
        "cpus": [*os.sched_getaffinity(0)],  # a fork would have those of the server, which is older
    }
    forked = ForkedProcess(server, server.ask(request))
    try:
        yield forked
    finally:
        end(forked)
