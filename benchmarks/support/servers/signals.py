"""Ctrl-C and SIGTERM end a benchmark by way of every `finally`, so that no server is left behind."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ENDS = (signal.SIGINT, signal.SIGTERM)


def exit_on_sigterm() -> None:
    """Make SIGTERM an exception, as Ctrl-C is one."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextmanager
def signals_held() -> Iterator[None]:
    """Both wait meanwhile: between the start of a process and the knowledge of its pid, they would leave it behind."""
    held: list[int] = []
    handlers = {end: signal.signal(end, lambda number, _: held.append(number)) for end in ENDS}
    try:
        yield
    finally:
        for end, handler in handlers.items():
            signal.signal(end, handler)
        for number in held:
            signal.raise_signal(number)
