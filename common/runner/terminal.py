"""The terminal in which a run was started: its Ctrl-C, and whether it is still open."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

TERMINAL = 0
"""Standard input."""


@contextmanager
def own_foreground() -> Iterator[Callable[[], bool]]:
    """Take Ctrl-C for this process alone: `make`, if it started us, would report it as an error.

    Gives a function that returns whether the terminal is closed. A closed terminal's SIGHUP reaches only the first
    process in it, perhaps a `make` that then waits for us. Without a terminal, or in the background, does nothing.
    """
    if _foreground_group() != os.getpgrp():
        yield lambda: False
        return
    group = os.getpgrp()
    if group != os.getpid():
        for number in (signal.SIGTTOU, signal.SIGTSTP):
            signal.signal(number, signal.SIG_IGN)
        os.setpgid(0, 0)
        os.tcsetpgrp(TERMINAL, os.getpid())
    try:
        yield lambda: _foreground_group() is None
    finally:
        with suppress(OSError):
            os.tcsetpgrp(TERMINAL, group)


def _foreground_group() -> int | None:
    with suppress(OSError):
        return os.tcgetpgrp(TERMINAL)
    return None
