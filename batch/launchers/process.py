"""What a job runs in. LAUNCHER=process: a process of its own on this machine, which outlives a manager that is killed.

Each run has two files beside the registry: its log, and a lock that its job holds and that holds the job's process id.
The job is born with the lock and loses it by its death only. So whoever comes after knows whether there is one, and
there are never two.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from batch.output.lock import is_held

JOB = (sys.executable, "-m", "batch.job", "run")
WITH_ITS_PID = 'echo $$ > "$0" && exec "$@"'
LOG_BYTES = 2_000
FOLDER = Path(__file__).parents[2]
"""The one that holds batch/ and common/."""


class LaunchError(Exception):
    """A job could not be started; the message says why."""


class Launcher(Protocol):
    """Starts the job of a run, knows whether it is there, ends it."""

    def start(self, run_id: str, arguments: Sequence[str]) -> int | None:
        """Start it, and give its process id if it has one; raises `LaunchError`."""

    def is_alive(self, run_id: str) -> bool:
        """Whether there is a job of this run, whoever started it."""

    def stop(self, run_id: str, seconds: float) -> None:
        """Tell it to end, at once; when it has been told for so many seconds, kill it."""

    def clear(self, run_id: str) -> str:
        """Remove what is left of a job that has ended; gives the end of what it printed."""


class ProcessLauncher:
    """Jobs as processes of this machine."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._told: dict[str, float] = {}

    def start(self, run_id: str, arguments: Sequence[str]) -> int | None:
        """In a session of its own, so that a Ctrl-C for the manager is none for the job."""
        self._told.pop(run_id, None)
        try:
            with self._lock(run_id).open("a") as lock, self._log(run_id).open("wb") as log:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._children[run_id] = subprocess.Popen(
                    ["sh", "-c", WITH_ITS_PID, str(self._lock(run_id)), *JOB, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=FOLDER,
                    pass_fds=[lock.fileno()],
                    start_new_session=True,
                )
        except OSError as error:
            raise LaunchError(f"the job could not be started: {error}") from None
        return self._children[run_id].pid

    def is_alive(self, run_id: str) -> bool:
        """Whether somebody holds the lock."""
        return is_held(self._lock(run_id))

    def stop(self, run_id: str, seconds: float) -> None:
        """SIGTERM, which a job heeds; in the end SIGKILL for it and all that it has started."""
        try:
            pid = int(self._lock(run_id).read_text())
            if run_id not in self._told:
                self._told[run_id] = time.monotonic()
                os.kill(pid, signal.SIGTERM)
            elif time.monotonic() > self._told[run_id] + seconds:
                os.killpg(pid, signal.SIGKILL)
        except (OSError, ValueError):
            pass  # it is just being born, or has just ended: whoever wants it to end asks again

    def clear(self, run_id: str) -> str:
        """Leaves no zombie and no lock; the log stays."""
        self._told.pop(run_id, None)
        if child := self._children.pop(run_id, None):
            child.wait()
        self._lock(run_id).unlink(missing_ok=True)
        try:
            with self._log(run_id).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES))
                return log.read().decode(errors="replace").strip()
        except FileNotFoundError:
            return ""

    def _lock(self, run_id: str) -> Path:
        return self._folder.absolute() / f"{run_id}.lock"

    def _log(self, run_id: str) -> Path:
        return self._folder / f"{run_id}.log"
