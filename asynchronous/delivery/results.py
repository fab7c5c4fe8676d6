"""The result database: one row a job, however often it is delivered."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from asynchronous.schemas import Job
from common import domain
from common.service.process.sqlite_file import opening_sqlite

COLUMNS = {
    "job_id": "TEXT PRIMARY KEY",
    "status": "TEXT NOT NULL",
    domain.LABEL: "",
    "confidence": "REAL",
    "prediction": "TEXT",
    "error": "TEXT",
    "submitted_at": "TEXT NOT NULL",
    "finished_at": "TEXT NOT NULL",
}
"""The type of each column. The label's has the domain's name for it; `prediction` is all of the prediction, as JSON."""
_NAMES = [f'"{name}"' for name in COLUMNS]
CREATE = f"CREATE TABLE IF NOT EXISTS results ({', '.join(map(' '.join, zip(_NAMES, COLUMNS.values(), strict=True)))})"
UPSERT = f"""
INSERT INTO results ({", ".join(_NAMES)}) VALUES ({", ".join(f":{name}" for name in COLUMNS)})
ON CONFLICT (job_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _NAMES)}
WHERE excluded.finished_at > results.finished_at
"""
"""A dead letter that was retried ends a second time; the newer row replaces the older."""

REJECTED = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError, OverflowError)
"""What is wrong with a row; other errors are about the database."""


class ResultDatabase:
    """An SQLite file; only one thread at a time may use it."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()  # SQLite takes `file:…` and `:memory:` for something else
        with opening_sqlite(path, "RESULTS_DATABASE"):
            self._open()
            self._connection.execute(CREATE)
            if domain.LABEL not in {column for _, column, *_ in self._connection.execute("PRAGMA table_info(results)")}:
                self._connection.execute(f'ALTER TABLE results ADD COLUMN "{domain.LABEL}"')  # another domain's file

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

    @contextmanager
    def keep_open(self) -> Iterator[None]:
        """Close the file behind the block. The next block opens it again: an app may be started more than once."""
        self._connection.close()
        self._open()
        with closing(self._connection):
            yield

    def _open(self) -> None:
        self._connection = sqlite3.connect(self._path, timeout=5.0, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")


def _row(job: Job) -> dict[str, object]:
    """The values of `COLUMNS`."""
    fields = job.prediction.model_dump() if job.prediction else {}
    return {
        domain.LABEL: fields.get(domain.LABEL),
        "job_id": job.job_id,
        "status": job.status,
        "confidence": fields.get("confidence"),
        "prediction": job.prediction.model_dump_json() if job.prediction else None,
        "error": job.error,
        "submitted_at": job.submitted_at.isoformat(),
        "finished_at": (job.finished_at or job.submitted_at).isoformat(),
    }
