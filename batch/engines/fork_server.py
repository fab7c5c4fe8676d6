"""The process from which those of engine `local` are forked: it has imported the libraries, and started no thread.

It needs as long for that as the job for its own imports, so the job starts it first.
"""

import multiprocessing
import signal
from contextlib import suppress
from multiprocessing import forkserver

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["batch.command_line", "batch.engines.on_processes", "pandas"]  # pandas: pyarrow imports it with its first value
)


def start() -> None:
    """Start it, and return at once. Ctrl-C is for the job alone, which ends it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it inherits this
    try:
        with suppress(OSError):  # such as no folder for its socket: the pool tries again, and the job says why
            forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)
