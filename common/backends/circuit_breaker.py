"""The circuit breaker between a service and a backend: fails fast while the backend is failing.

Closed, it lets every call through. After a number of failures in a row it opens and rejects calls immediately, which
saves callers a wait and the backend the load. After a pause it lets one call through: success closes the breaker,
failure opens it again. M. Nygard, "Release It!", 2007.
"""

from collections.abc import Callable
from time import monotonic
from typing import NewType

Generation = NewType("Generation", int)
"""Counts how often the breaker has opened. A call admitted in an earlier generation is no longer counted."""


class CircuitBreaker:
    """Opens after `failures` in a row, for `open_seconds`; `clock` returns seconds.

    Each admitted call ends in exactly one of `succeeded`, `failed` and `ignored`.
    """

    def __init__(self, failures: int, open_seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self.is_open = False
        self._limit = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._generation = Generation(0)
        self._failures = 0
        self._opened = 0.0
        self._probing = False

    def admit(self) -> Generation | None:
        """The generation to report the outcome with, or None if no call may be made now."""
        if self.is_open:
            if self._probing or self._clock() < self._opened + self._open_seconds:
                return None
            self._probing = True
        return self._generation

    def succeeded(self, generation: Generation) -> None:
        """The backend answered."""
        if generation == self._generation:
            self._failures = 0
            self.is_open = self._probing = False

    def failed(self, generation: Generation) -> None:
        """The backend gave no answer, or not a valid one."""
        if generation != self._generation:
            return
        self._failures += 1
        if self.is_open or self._failures >= self._limit:
            self.is_open, self._probing = True, False
            self._failures = 0
            self._opened = self._clock()
            self._generation = Generation(generation + 1)

    def ignored(self, generation: Generation) -> None:
        """The call says nothing about the backend: it was cancelled, or had too little time."""
        if generation == self._generation:
            self._probing = False
