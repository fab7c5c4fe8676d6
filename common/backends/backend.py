"""How a service calls another: within the caller's deadline, at most twice, and not while its breaker is open.

Whatever becomes of a call, it ends before the caller's deadline, and what is no usable answer is a `BackendError` that
says why. How the question is put, over REST or gRPC, is up to whoever calls.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Literal, Protocol, TypeVar

from common.backends.circuit_breaker import Breaker, Era
from common.backends.settings import CallerSettings
from common.service.metrics import ServiceMetrics
from common.service.problems import Problem

logger = logging.getLogger(__name__)

Reason = Literal["timeout", "refused", "error", "breaker open"]
Answer = TypeVar("Answer")

STATUS: dict[Reason, int] = {"timeout": 504, "refused": 503, "error": 502, "breaker open": 503}
OVERLOAD = (408, 429)
"""Statuses of the 400s that tell of the backend and not of the request."""
RESERVE_SHARE = 0.1
RESERVE_SECONDS = 0.05
"""Of the time left, the share that a backend does not get, and its bound: it is for answering the caller."""
SHORTEST_SECONDS = 1e-3
"""With less time than this no call is started: deadlines are passed on in whole milliseconds."""
FAIR_SECONDS = 0.25
"""Whoever gave a backend less than this learns nothing of its health from a time-out."""
JITTER_SECONDS = (0.01, 0.05)
"""The wait before the second try: those whom one failure hit shall not come back as one."""


class BackendError(Exception):
    """A backend gave no usable answer.

    `again`: a second try is safe and may help. `status` is that of its answer in HTTP, where it gave one. `cause` is
    for the log alone: it may name hosts. `backend` is the name under which the caller knows it.
    """

    def __init__(
        self, reason: Reason, detail: str, again: bool = False, status: int | None = None, cause: str = ""
    ) -> None:
        super().__init__(detail)
        self.cause = cause
        self.reason: Reason = reason
        self.again = again
        self.status = status
        self.backend = ""

    def __str__(self) -> str:
        return f"{self.backend}: {self.reason} ({self.args[0]})"

    @property
    def blames_request(self) -> bool:
        """Whether the backend is well, and it was this request that it did not want."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in OVERLOAD

    def problem(self) -> Problem:
        """What our caller gets where there is nothing to fall back on: 502, 503 or 504, and the backend's name."""
        status = STATUS[self.reason]
        headers = {"Retry-After": "1"} if status == 503 else None
        return Problem(status, str(self), headers, backend=self.backend, reason=self.reason)


class Caller(Protocol):
    """On whose behalf a call is made: until when (a `time.monotonic()`), where it is told what took how long, and what
    is to stand in the log.
    """

    deadline: float
    timings: dict[str, float]
    log: dict[str, object]


class Backend:
    """A service that is called, as its callers in this process know it: its name, its breaker, its figures."""

    def __init__(self, name: str, settings: CallerSettings, metrics: ServiceMetrics) -> None:
        self.name = name
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_open_seconds)
        self._metrics = metrics.backends
        self._metrics.breaker.labels(name).set_function(lambda: self.breaker.is_open)

    async def call(self, ask: Callable[[float], Awaitable[Answer]], caller: Caller) -> Answer:
        """The answer of `ask(seconds)`, which asks once and has so long; raises `BackendError`.

        `ask` must be safe to repeat, as a prediction is.
        """
        started, outcome = monotonic(), "abandoned"
        caller.timings[self.name] = 0.0  # so that it stands before what it is made of
        try:
            answer = await self._ask_twice(ask, caller.deadline)
            outcome = "answered"
            return answer
        except BackendError as error:
            error.backend = self.name
            outcome = error.reason
            caller.log[self.name] = f"{error.reason} ({error.args[0]}) {error.cause}".rstrip()
            raise
        finally:
            caller.timings[self.name] = seconds = monotonic() - started
            self._metrics.call(self.name, outcome, seconds)

    async def _ask_twice(self, ask: Callable[[float], Awaitable[Answer]], deadline: float) -> Answer:
        try:
            return await self._ask(ask, deadline)
        except BackendError as error:
            pause = random.uniform(*JITTER_SECONDS)
            if not error.again or self.breaker.is_open or seconds_to_give(deadline) < pause + SHORTEST_SECONDS:
                raise
        self._metrics.retries.labels(self.name).inc()
        await asyncio.sleep(pause)
        return await self._ask(ask, deadline)

    async def _ask(self, ask: Callable[[float], Awaitable[Answer]], deadline: float) -> Answer:
        seconds = seconds_to_give(deadline)
        if seconds < SHORTEST_SECONDS:
            raise BackendError("timeout", "no time was left to ask it")
        era = self.breaker.admit()
        if era is None:
            raise BackendError("breaker open", "it failed again and again, and is left alone for a while")
        healthy: bool | None = None
        try:
            answer = await _within(seconds, ask)
            healthy = True
            return answer
        except BackendError as error:
            if error.reason != "timeout" or seconds >= FAIR_SECONDS:
                healthy = error.blames_request
            raise
        finally:
            self._report(era, healthy)

    def _report(self, era: Era, healthy: bool | None) -> None:
        """Tell the breaker how the call ended; None: it says nothing of the backend."""
        was_open = self.breaker.is_open
        if healthy is None:
            self.breaker.abandoned(era)
        elif healthy:
            self.breaker.succeeded(era)
        else:
            self.breaker.failed(era)
        if self.breaker.is_open != was_open:
            logger.warning("%s: breaker %s", self.name, "closed" if was_open else "open")


async def _within(seconds: float, ask: Callable[[float], Awaitable[Answer]]) -> Answer:
    try:
        async with asyncio.timeout(seconds):
            return await ask(seconds)
    except TimeoutError:
        raise BackendError("timeout", f"no answer within {seconds * 1e3:.0f} ms") from None


def seconds_to_give(deadline: float) -> float:
    """How long a backend may take, if the caller is to be answered by then."""
    left = deadline - monotonic()
    return left - min(left * RESERVE_SHARE, RESERVE_SECONDS)
