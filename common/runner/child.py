"""A process of a Procfile: its output has its name in front, and it is started again each time it ends."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

MAX_DELAY_SECONDS = 30
"""The longest wait before a restart. A process that has run for longer than this starts again after one second."""
PR_SET_PDEATHSIG = 1
MISTYPED = re.compile(r"(\w+) is no setting, and is ignored: is \w+ meant\?")
_warned_by: dict[str, str] = {}


class Child:
    """A process of the Procfile. While it runs, its process id is in `pid_file`."""

    def __init__(self, command: str, prefix: str, pid_file: Path) -> None:
        self.command, self.prefix, self.pid_file = command, prefix, pid_file
        self.delay = 0
        self.start()

    def start(self) -> None:
        """Start it in a session of its own: Ctrl-C reaches the runner only."""
        self.started, self.restart_at = time.monotonic(), 0.0
        self.process = subprocess.Popen(
            ["sh", "-c", self.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_runner if sys.platform == "linux" else None,
        )
        self.pid_file.write_text(f"{self.process.pid}\n")
        self.printer = Thread(target=self._print_output, args=[self.process], daemon=True)
        self.printer.start()

    def has_ended(self) -> bool:
        """Whether it does not run; its output is printed by then."""
        if self.process.poll() is None:
            return False
        self.printer.join(1)  # no longer: a process that it has started may keep its output open
        self.pid_file.unlink(missing_ok=True)
        return True

    def outcome(self) -> str:
        """How it ended."""
        code = self.process.returncode
        return f"exit status {code}" if code >= 0 else signal.Signals(-code).name

    def keep_running(self) -> None:
        """Start it again once it has ended: after 1, 2, 4 … seconds."""
        now = time.monotonic()
        if not self.restart_at and self.has_ended():
            self.delay = min(2 * self.delay or 1, MAX_DELAY_SECONDS) if now < self.started + MAX_DELAY_SECONDS else 1
            self.restart_at = now + self.delay
            print_line(f"{self.prefix}ended ({self.outcome()}), starts again in {self.delay} s")
        elif self.restart_at and now >= self.restart_at:
            self.start()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it; SIGKILL also to what it has started."""
        if number == signal.SIGKILL:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)  # one that was stopped, by `make break HOW=hang`, takes it then

    def _print_output(self, process: "subprocess.Popen[bytes]") -> None:
        for line in process.stdout or ():
            print_line(self.prefix + line.decode(errors="replace").rstrip(), self.prefix)


def print_line(line: str, process: str = "") -> None:
    """Write a line at once, whatever else is printed; of a mistyped setting, the warning of one process."""
    mistyped = MISTYPED.search(line)
    if mistyped and _warned_by.setdefault(mistyped[1], process) != process:
        return
    with suppress(OSError):  # the terminal may be closed
        os.write(sys.stdout.fileno(), f"{line}\n".encode())


def _end_with_runner() -> None:
    """Linux ends a process whose runner was killed. Elsewhere it goes on."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
