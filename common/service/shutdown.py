"""From SIGTERM to the closing of the port: not ready first, so that balancers look elsewhere; then uvicorn's own end.

uvicorn closes its listener the moment it gets the signal, while balancers still send requests. Wrapping its handler
puts a wait in between; work in flight is finished by uvicorn afterwards.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from types import FrameType

logger = logging.getLogger(__name__)


@contextmanager
def drain_on_sigterm(seconds: float, on_drain: Callable[[], None]) -> Iterator[None]:
    """On SIGTERM call `on_drain`, wait `seconds`, then let the server handle the signal; a second one ends the wait."""
    server_handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(server_handler):
        yield  # not run by a server that handles signals, so there is nothing to wrap
        return
    loop = asyncio.get_running_loop()

    def drain(number: int, frame: FrameType | None) -> None:
        logger.info("SIGTERM: not ready any more, closing in %s s", seconds)
        on_drain()
        signal.signal(signal.SIGTERM, server_handler)
        loop.call_later(seconds, server_handler, number, frame)

    def begin(number: int, frame: FrameType | None) -> None:
        # In a context of its own: the signal interrupts some request, whose trace this is not.
        loop.call_soon_threadsafe(drain, number, frame, context=Context())

    signal.signal(signal.SIGTERM, begin)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, server_handler)
