"""The result database: one row a job, however often it is delivered."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from asynchronous.schemas import Job
from common.service.folders import require_writable

SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
    job_id TEXT PRIMARY KEY,
    status TEXT NOT NULL,
    digit INTEGER,
    confidence REAL,
    prediction TEXT,
    error TEXT,
    submitted_at TEXT NOT NULL,
    finished_at TEXT NOT NULL
)
"""
UPSERT = """
INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (job_id) DO UPDATE SET status = excluded.status, digit = excluded.digit,
    confidence = excluded.confidence, prediction = excluded.prediction, error = excluded.error,
    finished_at = excluded.finished_at
WHERE excluded.finished_at > results.finished_at
"""
"""A dead letter that was retried ends a second time; the newer row replaces the older."""

REJECTED = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError, OverflowError)
"""What is wrong with a row; other errors are about the database."""


class ResultDatabase:
    """An SQLite file; only one thread at a time may use it."""

    def __init__(self, path: str) -> None:
        require_writable(Path(path).parent, "set RESULTS_DATABASE to a file elsewhere")
        self._connection = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(SCHEMA)

    def upsert(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Write these jobs. Returns those that the database rejects, with the error; raises if it is unavailable."""
        try:
            self._write(jobs)
        except REJECTED:
            return self._write_each(jobs)
        return {}

    def _write(self, jobs: Sequence[Job]) -> None:
        with self._connection:
            self._connection.executemany(UPSERT, [_row(job) for job in jobs])

    def _write_each(self, jobs: Sequence[Job]) -> dict[str, str]:
        rejected = {}
        for job in jobs:
            try:
                self._write([job])
            except REJECTED as error:
                rejected[job.job_id] = f"{type(error).__name__}: {error}"
        return rejected

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _row(job: Job) -> tuple[str | int | float | None, ...]:
    reading = job.prediction
    return (
        job.job_id,
        job.status,
        reading.digit if reading else None,
        reading.confidence if reading else None,
        reading.model_dump_json() if reading else None,
        job.error,
        job.submitted_at.isoformat(),
        (job.finished_at or job.submitted_at).isoformat(),
    )
