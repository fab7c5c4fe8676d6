"""An SQLite file that several threads and processes share: one connection, and transactions without another writer."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.service.process.sqlite_file import opening_sqlite


class RegistryUnavailable(Exception):
    """The file cannot be read or written: locked for too long, closed, damaged, gone."""


class Database:
    """The connection. A thread that writes keeps the others waiting; readers see the last finished transaction."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path.absolute()  # SQLite takes `file:…` and `:memory:` for something else
        self._lock = threading.RLock()
        with opening_sqlite(path, "MANAGER_DATABASE"):
            self._open()
            self._connection.executescript(schema)

    @contextmanager
    def keep_open(self) -> Iterator[None]:
        """Close the file behind the block. The next block opens it again: an app may be started more than once."""
        with self._lock:
            self._connection.close()
            self._open()
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One thread at a time. Raises `RegistryUnavailable`; `sqlite3.IntegrityError` is about a row, and passes."""
        with self._lock:
            try:
                yield
            except sqlite3.IntegrityError:
                raise
            except sqlite3.Error as error:
                raise RegistryUnavailable(str(error)) from error

    def _open(self) -> None:
        self._connection = sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """What a query finds."""
        with self._locked():
            return self._connection.execute(query, [to_value(value) for value in values]).fetchall()

    def change(self, query: str, *values: Any) -> int:
        """Make a change; returns how many rows it concerns. Raises `sqlite3.IntegrityError`."""
        with self._locked():
            return self._connection.execute(query, [to_value(value) for value in values]).rowcount

    def insert(self, table: str, **columns: Any) -> None:
        """Add a row. Raises `sqlite3.IntegrityError`."""
        self.change(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", *columns.values()
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, with no other writer in between."""
        with self._locked():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def to_value(value: Any) -> Any:
    """A value as SQLite stores it; a time in UTC and of fixed length, so that the texts sort as the times do."""
    return value.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(value, datetime) else value
