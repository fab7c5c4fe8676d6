"""The SQLite file of a service: where it cannot be opened at start, one line says what to set."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.service.process.folders import require_writable


@contextmanager
def opening_sqlite(path: Path, setting: str) -> Iterator[None]:
    """The block opens this file. Ends the process, with the name of the setting, if it is none or cannot be opened."""
    require_writable(path.parent, f"set {setting} to a file elsewhere")
    advice = "set it to an SQLite file, or a new name"
    try:
        if path.exists() and not path.is_file():
            raise SystemExit(f"cannot start: {setting}={path} is no file: {advice}")
        yield
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise SystemExit(f"cannot start: {setting}={path} cannot be opened ({why}): {advice}") from None
