"""LAUNCHER=process: a job is a process on this machine, which survives a manager that is killed.

Each run has two files beside the registry: its log, and a lock file with the job's process id. The job inherits the
lock and releases it only when it exits. A later manager can therefore tell whether the job is running, and never starts
a second one.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from batch.command_line import Engine
from batch.engines.installed import require_engine
from batch.launchers.launcher import LOG_BYTES, LaunchError
from batch.output.lock import is_held

JOB = (sys.executable, "-m", "batch.job", "run")
WRITE_PID_AND_EXEC = 'echo $$ > "$0" && exec "$@"'
"""The pid is in the file before the job begins, even if the manager is killed while it starts the job."""
FOLDER = Path(__file__).parents[2]
"""The folder with batch/ and common/."""


class ProcessLauncher:
    """Jobs as processes on this machine."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._stopped_at: dict[str, float] = {}

    def require_engine(self, engine: Engine) -> None:
        """A job is run by this Python."""
        require_engine(engine)

    def start(self, run_id: str, arguments: Sequence[str]) -> int | None:
        """In a session of its own, so that Ctrl-C stops the manager but not the job."""
        self._stopped_at.pop(run_id, None)
        try:
            with self._lock(run_id).open("a") as lock, self._log(run_id).open("wb") as log:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._children[run_id] = subprocess.Popen(
                    ["sh", "-c", WRITE_PID_AND_EXEC, str(self._lock(run_id)), *JOB, *arguments],
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
        """Whether a process holds the lock."""
        return is_held(self._lock(run_id))

    def stop(self, run_id: str, timeout: float) -> None:
        """SIGTERM to the job; after the timeout SIGKILL to the job and all processes that it has started."""
        try:
            pid = int(self._lock(run_id).read_text())
            if run_id not in self._stopped_at:
                self._stopped_at[run_id] = time.monotonic()
                os.kill(pid, signal.SIGTERM)
            elif time.monotonic() > self._stopped_at[run_id] + timeout:
                os.killpg(pid, signal.SIGKILL)
        except (OSError, ValueError):
            pass  # it is just starting, or has just exited: the next call tries again

    def clean_up(self, run_id: str) -> str:
        """Remove the zombie and the lock; the log stays."""
        self._stopped_at.pop(run_id, None)
        if child := self._children.pop(run_id, None):
            child.wait()
        self._lock(run_id).unlink(missing_ok=True)
        try:
            with self._log(run_id).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES))
                return log.read().decode(errors="replace").strip()
        except FileNotFoundError:
            return ""

    def remove_log(self, run_id: str) -> None:
        """Remove the log."""
        self._log(run_id).unlink(missing_ok=True)

    def _lock(self, run_id: str) -> Path:
        return self._folder.absolute() / f"{run_id}.lock"

    def _log(self, run_id: str) -> Path:
        return self._folder / f"{run_id}.log"
