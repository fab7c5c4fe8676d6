"""A request to stop the job, by SIGTERM, Ctrl-C or its deadline. Loops check it; nothing is interrupted by force."""

import signal
import time
from types import FrameType


class Cancelled(Exception):
    """The job was cancelled before its first chunk."""


class StopRequest:
    """A flag that a signal handler sets, and the deadline."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self._deadline: float | None = None

    def set_on_signals(self) -> None:
        """From now on SIGTERM and SIGINT only set the flag."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._cancel)

    def set_deadline(self, seconds: float) -> None:
        """The job is to stop this many seconds from now."""
        self._deadline = time.monotonic() + seconds

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def check(self) -> None:
        """Raise `Cancelled` if the job has been cancelled."""
        if self.is_cancelled:
            raise Cancelled

    def _cancel(self, number: int, frame: FrameType | None) -> None:
        self.is_cancelled = True
