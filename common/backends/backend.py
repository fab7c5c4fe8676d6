"""Calls another service: respects the caller's deadline, retries once, fails fast while the circuit breaker is open.

A call always ends before the caller's deadline. Anything but a usable answer is a `BackendError` that says why. How
the request is sent, over REST or gRPC, is up to the function that the caller passes.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from common.backends.circuit_breaker import CircuitBreaker, Generation
from common.backends.errors import BackendError
from common.backends.metrics import BackendMetrics
from common.backends.settings import CallerSettings
from common.service.deadline import Caller, remaining_timeout

logger = logging.getLogger(__name__)

T = TypeVar("T")
Send = Callable[[float], Awaitable[T]]
"""Sends one request and returns the answer; its parameter is the timeout in seconds. Must be safe to repeat."""

MIN_TIMEOUT_SECONDS = 1e-3
"""With less time than this no call is made: deadlines are passed on in whole milliseconds."""
BREAKER_MIN_TIMEOUT_SECONDS = 0.25
"""A timeout shorter than this does not count as a failure of the backend."""
JITTER_SECONDS = (0.01, 0.05)
"""Random delay before the retry, so that callers hit by one failure do not retry at the same moment."""


class Backend:
    """A service that this process calls: its name, its circuit breaker, its metrics."""

    def __init__(self, name: str, settings: CallerSettings, metrics: BackendMetrics) -> None:
        self.name = name
        self.breaker = CircuitBreaker(settings.breaker_failures, settings.breaker_open_seconds)
        self._metrics = metrics
        self._metrics.breaker.labels(name).set_function(lambda: self.breaker.is_open)

    async def call(self, send: Send[T], caller: Caller) -> T:
        """The answer of `send(timeout_seconds)`; raises `BackendError`."""
        started, outcome = monotonic(), "cancelled"
        caller.timings[self.name] = 0.0  # listed before the backend's own timings
        try:
            answer = await self._call_with_retry(send, caller.deadline)
            outcome = "answered"
            return answer
        except BackendError as error:
            error.backend = self.name
            outcome = error.reason
            caller.log[self.name] = f"{error.reason} ({error.args[0]}) {error.cause}".rstrip()
            raise
        finally:
            caller.timings[self.name] = seconds = monotonic() - started
            self._metrics.record_call(self.name, outcome, seconds)

    async def _call_with_retry(self, send: Send[T], deadline: float) -> T:
        """The breaker counts calls, not tries: a connection that breaks fails every call on it, and each may retry."""
        generation = self.breaker.admit()
        if generation is None:
            raise BackendError("breaker open", "it failed repeatedly and is not called for a while")
        healthy: bool | None = None
        timeout = remaining_timeout(deadline)
        try:
            try:
                answer = await _send_within(timeout, send)
            except BackendError as error:
                delay = random.uniform(*JITTER_SECONDS)
                has_time = remaining_timeout(deadline) >= delay + MIN_TIMEOUT_SECONDS
                if not error.retryable or self.breaker.is_open or not has_time:
                    raise
                self._metrics.retries.labels(self.name).inc()
                await asyncio.sleep(delay)
                timeout = remaining_timeout(deadline)
                answer = await _send_within(timeout, send)
            healthy = True
            return answer
        except BackendError as error:
            if error.reason != "timeout" or timeout >= BREAKER_MIN_TIMEOUT_SECONDS:
                healthy = error.is_client_error
            raise
        finally:
            self._update_breaker(generation, healthy)

    def _update_breaker(self, generation: Generation, healthy: bool | None) -> None:
        """Report the outcome of a call to the breaker; None: it says nothing about the backend."""
        was_open = self.breaker.is_open
        if healthy is None:
            self.breaker.ignored(generation)
        elif healthy:
            self.breaker.succeeded(generation)
        else:
            self.breaker.failed(generation)
        if self.breaker.is_open != was_open:
            logger.warning("%s: circuit breaker %s", self.name, "closed" if was_open else "open")


async def _send_within(seconds: float, send: Send[T]) -> T:
    if seconds < MIN_TIMEOUT_SECONDS:
        raise BackendError("timeout", "no time was left to call it")
    try:
        async with asyncio.timeout(seconds):
            return await send(seconds)
    except TimeoutError:
        raise BackendError("timeout", f"no answer within {seconds * 1e3:.0f} ms") from None
