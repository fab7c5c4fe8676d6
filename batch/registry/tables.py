"""The tables of the registry, and how their rows become schedules and runs."""

import json
import sqlite3
from typing import Any

from batch.schemas import Run, Schedule

SCHEMA = """
CREATE TABLE IF NOT EXISTS schedules (
    id TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    request TEXT NOT NULL,
    next_due TEXT,
    next_trial TEXT,
    skipped TEXT
);
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    schedule_id TEXT,
    due_at TEXT,
    trial INTEGER NOT NULL,
    output TEXT NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued',
    at_risk INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    next_retry TEXT,
    not_before TEXT,
    cancelling INTEGER NOT NULL DEFAULT 0,
    pid INTEGER,
    deferred_from TEXT,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT,
    deadline_at TEXT,
    errors TEXT NOT NULL DEFAULT '[]',
    progress TEXT,
    UNIQUE (schedule_id, due_at, trial)
);
CREATE UNIQUE INDEX IF NOT EXISTS one_open_run_of_an_output ON runs (output) WHERE state IN ('queued', 'running');
CREATE INDEX IF NOT EXISTS runs_by_state ON runs (state);
"""


def to_schedule(row: sqlite3.Row, last_run: Run | None) -> Schedule:
    """A schedule as the API returns it."""
    return Schedule(**json.loads(row["request"]), **_columns(row, "request"), last_run=last_run)


def to_run(row: sqlite3.Row) -> Run:
    """A run as the API returns it."""
    values = _columns(row, "request", "number", "next_retry", "not_before", "trial", "output")
    progress = json.loads(row["progress"]) if row["progress"] else {}
    values |= {"errors": json.loads(row["errors"]), "progress": progress or None}
    values |= {name: progress.get(name) for name in ("model", "data_checksum")}
    return Run(**json.loads(row["request"]), **values, trial_report=progress.get("trial"))


def _columns(row: sqlite3.Row, *without: str) -> dict[str, Any]:
    return {name: row[name] for name in row.keys() if name not in without}  # noqa: SIM118 - a Row is no dict
