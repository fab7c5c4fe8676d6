"""File locks that are released when their process exits, so that others can tell whether it is alive."""

import fcntl
import time
from pathlib import Path
from typing import IO, Any

ATTEMPTS = 10
PAUSE_SECONDS = 0.05


def acquire(file: IO[Any]) -> bool:
    """Acquire the lock; False if another process holds it. Tries for a moment, since `is_held` takes it briefly."""
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(PAUSE_SECONDS)
    return False


def is_held(path: Path) -> bool:
    """Whether a process holds the lock in this file."""
    try:
        with path.open("r+") as file:  # on NFS an exclusive lock needs write access
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True
