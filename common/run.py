"""Runs a pattern without Docker: `python -m common.run PATTERN/Procfile`, from the folder that holds common/ too.

A process that ends before all are ready ends the run, with exit status 1. One that ends later is started again. Ctrl-C,
SIGTERM and a closed terminal end the run with exit status 0: the front service first, so that its requests in flight
still reach the others, and Redis last.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from common.runner.child import Child, print_line
from common.runner.procfile import REDIS, Procfile
from common.runner.terminal import own_foreground
from common.service.process.folders import require_writable

SIGNALS = ((signal.SIGTERM, 0.3), (signal.SIGTERM, 40.0), (signal.SIGKILL, 5.0))
"""How a process is ended, with the seconds to wait for it: longer than the longest request, then it is killed. A second
SIGTERM ends a service's drain, since no load balancer has to notice it here."""
POLL_SECONDS = 0.05
CAUSES: dict[int, str] = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}


class Stopped(Exception):
    """The user ends the run, by this: a signal, or closing the terminal."""


class Run:
    """The processes of a Procfile while they run."""

    def __init__(self, procfile: Procfile, terminal_is_closed: Callable[[], bool]) -> None:
        self.procfile = procfile
        self.terminal_is_closed = terminal_is_closed
        self.folder = Path(".state") / procfile.pattern
        self.children: dict[str, Child] = {}
        self.signals: list[int] = []

    def run(self) -> None:
        """Start all and keep them running until a signal comes; exits with one line where one ends too early."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it for SIGHUP
                signal.signal(number, lambda number, _: self.signals.append(number))
        require_writable(self.folder, "start it from a folder that you may write into")
        for sentence in self.procfile.find_mistyped():
            print_line(f"warning: {sentence}", "common.run")
        try:
            for name in sorted(self.procfile.commands, key=lambda name: name != REDIS):
                self._start(name)
                if name == REDIS:
                    self._wait_until(lambda: self._listen(REDIS))
            self._wait_until(self._are_ready)
            print_line(f"ready: http://127.0.0.1:{self.procfile.front.number}/  {self.procfile.hint}".rstrip())
            self._wait_until(lambda: False, Child.keep_running)
        except Stopped as cause:
            print_line(f"{cause}: ending all by SIGTERM, the front service first")
        finally:
            self._end()

    def _start(self, name: str) -> None:
        prefix = f"{name:<{max(map(len, self.procfile.commands))}} | "
        if sys.stdout.isatty():
            prefix = f"\033[{31 + len(self.children) % 6}m{prefix}\033[0m"
        self.children[name] = Child(self.procfile.commands[name], prefix, self.folder / f"{name}.pid")

    def _wait_until(self, condition: Callable[[], bool], visit: Callable[[Child], None] | None = None) -> None:
        """Wait, calling `visit` with each child meanwhile; raises `Stopped` where the user ends the run."""
        while not condition():
            for name, child in self.children.items():
                if visit:
                    visit(child)
                elif child.has_ended():
                    sys.exit(f"{name} ended ({child.outcome()}) before all were ready")
            time.sleep(POLL_SECONDS)
            if self.signals or self.terminal_is_closed():
                raise Stopped(CAUSES[self.signals[0]] if self.signals else "the terminal is closed")

    def _listen(self, *names: str) -> bool:
        return all(port.is_open() for port in self.procfile.ports if port.process in names)

    def _are_ready(self) -> bool:
        """Whether all listen, so that none can fail at its start any more, and the front service is ready."""
        front = HTTPConnection("127.0.0.1", self.procfile.front.number, timeout=2)
        with suppress(OSError, HTTPException), closing(front):
            front.request("GET", "/health/ready")
            return front.getresponse().status == HTTPStatus.OK and self._listen(*self.children)
        return False

    def _end(self) -> None:
        """End the front service, then those that it calls, then Redis. A second Ctrl-C kills what still runs."""
        first, last = {self.procfile.front.process}, {REDIS}
        for names in (first, self.children.keys() - first - last, last):
            running = [child for name, child in self.children.items() if name in names]
            for number, seconds in SIGNALS:
                running = [child for child in running if not child.has_ended()]
                for child in running:
                    child.send(number)
                end = time.monotonic() + seconds
                while running and time.monotonic() < end and self.signals.count(signal.SIGINT) < 2:
                    time.sleep(POLL_SECONDS)
                    running = [child for child in running if not child.has_ended()]


def main() -> None:
    """Run the Procfile that the command line names."""
    path = Path(sys.argv[-1])
    if len(sys.argv) != 2 or not path.is_file():
        sys.exit("expected a Procfile: python -m common.run PATTERN/Procfile")
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if sys.stdout.isatty():
        os.environ.setdefault("FORCE_COLOR", "1")
    procfile = Procfile(path)
    for port in procfile.ports:
        port.check_free()
    with own_foreground() as terminal_is_closed:
        Run(procfile, terminal_is_closed).run()


if __name__ == "__main__":
    main()
