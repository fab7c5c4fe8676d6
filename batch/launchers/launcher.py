"""What the manager needs of a launcher: start the job of a run, check whether it is alive, stop it, clean up."""

from collections.abc import Sequence
from typing import Protocol

from batch.command_line import Engine

LOG_BYTES = 2_000
"""The end of a job's output that is kept as the reason of a crash."""


class LaunchError(Exception):
    """A job could not be started; the message says why."""


class Launcher(Protocol):
    """Starts, checks and stops the jobs of runs."""

    def require_engine(self, engine: Engine) -> None:
        """Raise `EngineMissing` where it is already known that jobs do not have this engine."""

    def start(self, run_id: str, arguments: Sequence[str]) -> int | None:
        """Start the job; returns its process id, if it has one. Raises `LaunchError`."""

    def is_alive(self, run_id: str) -> bool:
        """Whether there is a job of this run, started by this manager or an earlier one."""

    def stop(self, run_id: str, timeout: float) -> None:
        """Send SIGTERM at the first call, SIGKILL at a call more than `timeout` seconds later. Does not wait."""

    def remove_log(self, run_id: str) -> None:
        """Remove what is left of the output of a run that is deleted."""

    def clean_up(self, run_id: str) -> str:
        """Remove what is left of a job that has exited; returns the end of its output."""
