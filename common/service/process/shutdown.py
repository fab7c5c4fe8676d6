"""From SIGTERM to the closing of the port: first not ready, so that load balancers go elsewhere, then uvicorn's end.

uvicorn closes its listener the moment it gets the signal, while balancers still send requests. Wrapping its handler
puts a wait in between; uvicorn finishes the work in flight afterwards. The process then exits with 0.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field
from types import FrameType

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ProcessState:
    """Whether the process is about to end, and how many requests are in flight (probes do not count)."""

    draining: bool = False
    requests_in_flight: int = 0
    on_drain: list[Callable[[], object]] = field(default_factory=list)

    def drain(self) -> None:
        """Stop being ready, and call those who registered for it."""
        self.draining = True
        for callback in self.on_drain:
            callback()


@contextmanager
def drain_on_sigterm(seconds: float, on_drain: Callable[[], None]) -> Iterator[None]:
    """On SIGTERM call `on_drain`, wait `seconds`, then let the server handle the signal; a second one ends the wait."""
    server_handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(server_handler):
        yield  # not run by a server that handles signals, so there is nothing to wrap
        return
    loop = asyncio.get_running_loop()
    drained = False

    def drain(number: int, frame: FrameType | None) -> None:
        nonlocal drained
        drained = True
        logger.info("SIGTERM: not ready any more, closing in %s s or at a second SIGTERM", seconds)
        on_drain()
        signal.signal(signal.SIGTERM, server_handler)
        loop.call_later(seconds, server_handler, number, frame)

    def begin(number: int, frame: FrameType | None) -> None:
        # In a context of its own: the signal interrupts some request, and must not be logged with its trace id.
        loop.call_soon_threadsafe(drain, number, frame, context=Context())

    signal.signal(signal.SIGTERM, begin)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, server_handler)
        if drained:  # else uvicorn, having ended in order, would kill the process with the same signal
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
