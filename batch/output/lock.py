"""Locks that die with their process: whoever comes after knows whether somebody is there."""

import fcntl
import time
from pathlib import Path
from typing import IO

LOOKS = 10
LOOK_SECONDS = 0.05


def take(file: IO[str]) -> bool:
    """Whether the lock is ours now; tries for a moment, since somebody who only looks holds it as long."""
    for _ in range(LOOKS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(LOOK_SECONDS)
    return False


def is_held(path: Path) -> bool:
    """Whether a process holds the lock in this file."""
    try:
        with path.open("r+") as file:  # NFS gives nobody an exclusive lock who may only read
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True
