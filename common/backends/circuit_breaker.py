"""The circuit breaker between a service and one that it calls: who failed again and again is left alone for a while.

Closed, it lets every call through. After so many failures in a row it opens, and refuses calls at once, which spares
the callers a wait and the backend a crowd. After a while one call is let through; its success closes the breaker, its
failure opens it again. M. Nygard, "Release It!", 2007.
"""

from collections.abc import Callable
from time import monotonic
from typing import NewType

Era = NewType("Era", int)
"""The time between one opening and the next. What a call tells of an earlier era is out of date."""


class Breaker:
    """Opens after `failures` in a row, for `open_seconds`; `clock` gives seconds.

    Each call that was admitted ends in exactly one of `succeeded`, `failed` and `abandoned`.
    """

    def __init__(self, failures: int, open_seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self.is_open = False
        self._limit = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._era = Era(0)
        self._failures = 0
        self._opened = 0.0
        self._probing = False

    def admit(self) -> Era | None:
        """The era to report to if a call may be made now, None if not."""
        if self.is_open:
            if self._probing or self._clock() < self._opened + self._open_seconds:
                return None
            self._probing = True
        return self._era

    def succeeded(self, era: Era) -> None:
        """The backend answered."""
        if era == self._era:
            self._failures = 0
            self.is_open = self._probing = False

    def failed(self, era: Era) -> None:
        """The backend did not answer, or not as it should."""
        if era != self._era:
            return
        self._failures += 1
        if self.is_open or self._failures >= self._limit:
            self.is_open, self._probing = True, False
            self._failures = 0
            self._opened = self._clock()
            self._era = Era(era + 1)

    def abandoned(self, era: Era) -> None:
        """The call ended without telling anything of the backend: its caller left, or gave it no fair time."""
        if era == self._era:
            self._probing = False
