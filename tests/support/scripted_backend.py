"""A backend without a network: a scripted `send` answers, fails or hangs."""

import asyncio
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from common.backends.backend import Backend
from common.backends.errors import BackendError, Reason
from common.backends.metrics import BackendMetrics
from common.backends.settings import CallerSettings
from common.telemetry.metrics import ServiceMetrics

FAR = 60.0
HANG = "hang"
RETRYABLE = BackendError("error", "it broke", retryable=True)
PERMANENT = BackendError("error", "it broke")


@dataclass
class ScriptedSend:
    """Answers, fails or hangs, in this order, and records the timeout of each call."""

    outcomes: tuple[str | Exception, ...]
    timeouts: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> str:
        self.timeouts.append(seconds)
        outcome = self.outcomes[len(self.timeouts) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        if outcome == HANG:
            await asyncio.sleep(FAR)
        return outcome


@dataclass
class Caller:
    """The request for which a call is made."""

    deadline: float
    timings: dict[str, float] = field(default_factory=dict)
    log: dict[str, object] = field(default_factory=dict)


class Result(NamedTuple):
    """The answer or error of a call, the timeout of each try, and the seconds that the call took."""

    outcome: str | BackendError
    timeouts: list[float]
    seconds: float
    timings: dict[str, float]

    @property
    def reason(self) -> Reason:
        assert isinstance(self.outcome, BackendError)
        return self.outcome.reason


class Reader:
    """A backend, its metrics, and calls."""

    def __init__(self, failures: int = 5, open_seconds: float = FAR) -> None:
        self.metrics = ServiceMetrics()
        settings = CallerSettings(breaker_failures=failures, breaker_open_seconds=open_seconds)
        self.backend = Backend("reader", settings, BackendMetrics(self.metrics.registry))

    @property
    def is_open(self) -> bool:
        return self.metric("backend_breaker_open") == 1

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value; 0 where there is none yet."""
        return self.metrics.registry.get_sample_value(name, {"backend": "reader"} | labels) or 0

    def call(self, *outcomes: str | Exception, seconds: float = FAR) -> Result:
        """Call it once, `seconds` before the deadline."""
        return asyncio.run(self.call_async(*outcomes, seconds=seconds))

    async def call_async(self, *outcomes: str | Exception, seconds: float = FAR) -> Result:
        send, started = ScriptedSend(outcomes), monotonic()
        caller = Caller(started + seconds)
        try:
            outcome: str | BackendError = await self.backend.call(send, caller)
        except BackendError as error:
            outcome = error
        return Result(outcome, send.timeouts, monotonic() - started, caller.timings)
