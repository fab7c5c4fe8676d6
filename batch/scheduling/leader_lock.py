"""Of several managers with one registry, one is the leader and runs the control loop."""

import fcntl
from pathlib import Path
from typing import IO


class LeaderLock:
    """A lock file; the lock is released when its process exits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    @property
    def is_held(self) -> bool:
        """Whether this manager is the leader."""
        return self._file is not None

    def acquire(self) -> bool:
        """Try to become the leader; returns whether this manager is."""
        if self._file is None:
            file = self._path.open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return False
            self._file = file
        return True

    def release(self) -> None:
        """Let another manager become the leader."""
        if self._file:
            self._file.close()
            self._file = None
