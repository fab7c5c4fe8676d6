"""The registry: schedules and runs, in an SQLite file. What is in it survives whatever happens to the manager.

A due time fires once: one transaction moves the schedule's next due time, if it still is what was seen, and enters the
runs, which are unique by schedule and due time. Nor do two open runs share an output: an index sees to it.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from batch.scheduling.tables import SCHEMA, to_run, to_schedule, to_text
from batch.schemas import OPEN, Run, RunForm, Schedule, ScheduleForm, State


class OutputTaken(Exception):
    """Another open run has this output."""


class Registry:
    """The SQLite file; may be used from several threads, and from several processes."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.executescript(SCHEMA)

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._connection.close()

    def add_schedule(self, form: ScheduleForm, next_due: datetime | None, next_trial: datetime | None) -> Schedule:
        """Keep a schedule."""
        schedule_id, values = str(uuid4()), (to_text(datetime.now(UTC)), form.model_dump_json())
        with self._transaction():
            self._connection.execute(
                "INSERT INTO schedules (id, created_at, form, next_due, next_trial) VALUES (?, ?, ?, ?, ?)",
                (schedule_id, *values, to_text(next_due), to_text(next_trial)),
            )
        (schedule,) = self.schedules(schedule_id)
        return schedule

    def schedules(self, schedule_id: str | None = None) -> list[Schedule]:
        """All of them, or the one."""
        rows = self._rows("SELECT * FROM schedules WHERE id = ifnull(?, id) ORDER BY created_at, id", (schedule_id,))
        return [self._schedule(row) for row in rows]

    def due_schedules(self, now: datetime) -> list[Schedule]:
        """Those of which something has come due."""
        query = "SELECT * FROM schedules WHERE next_due <= ? OR next_trial <= ? ORDER BY created_at, id"
        return [self._schedule(row) for row in self._rows(query, (to_text(now), to_text(now)))]

    def remove_schedule(self, schedule_id: str) -> bool:
        """Whether it was there; its runs stay."""
        with self._transaction():
            return bool(self._connection.execute("DELETE FROM schedules WHERE id = ?", (schedule_id,)).rowcount)

    def fire(
        self, schedule: Schedule, runs: Sequence[tuple[datetime, RunForm]], next_due: datetime | None, trial: bool
    ) -> bool:
        """Enter the runs of these due times, and when it is due next; not if somebody else has done so."""
        column, seen = ("next_trial", schedule.next_trial) if trial else ("next_due", schedule.next_due)
        with self._transaction():
            moved = self._connection.execute(
                f"UPDATE schedules SET {column} = ? WHERE id = ? AND {column} = ?",
                (to_text(next_due), schedule.id, to_text(seen)),
            ).rowcount
            if not moved:
                return False
            entered = 0
            if seen and (not runs or runs[0][0] > seen):
                until = f"until {runs[0][0]:%Y-%m-%d %H:%M}Z" if runs else "and after"
                self._leave_out(schedule.id, f"{seen:%Y-%m-%d %H:%M}Z {until}: missed (catch_up={schedule.catch_up})")
            for due_at, form in runs:
                if schedule.overlap == "forbid" and self._is_open(schedule.id, trial):
                    self._leave_out(schedule.id, f"{due_at:%Y-%m-%d %H:%M}Z: a run was still open (overlap=forbid)")
                    continue
                try:
                    self._insert(form, schedule.id, due_at)
                    entered += 1
                except OutputTaken as error:
                    self._leave_out(schedule.id, f"{due_at:%Y-%m-%d %H:%M}Z: {error}")
                except sqlite3.IntegrityError:
                    pass  # this due time has its run
            return bool(entered)

    def add_run(self, form: RunForm) -> Run:
        """Keep a run that is to begin as soon as it can; raises `OutputTaken`."""
        with self._transaction():
            run_id = self._insert(form, None, None)
        return self.run(run_id)

    def run(self, run_id: str) -> Run:
        """Raises `KeyError` where there is none."""
        for row in self._rows("SELECT * FROM runs WHERE id = ?", (run_id,)):
            return to_run(row)
        raise KeyError(run_id)

    def runs(self, state: State | None = None, schedule_id: str | None = None, count: int = 100) -> list[Run]:
        """The newest first; a count below 0: all."""
        query = "SELECT * FROM runs WHERE state = ifnull(?, state) AND (? IS NULL OR schedule_id = ?)"
        rows = self._rows(f"{query} ORDER BY number DESC LIMIT ?", (state, schedule_id, schedule_id, count))
        return [to_run(row) for row in rows]

    def ready_to_start(self, now: datetime) -> list[tuple[Run, str | None]]:
        """Those that wait, the oldest first, and how they are taken up where it is not as their policy says."""
        ready = "state = 'queued' AND (ifnull(not_before, '') <= ? OR cancelling)"
        query = f"SELECT * FROM runs WHERE {ready} ORDER BY number"
        return [(to_run(row), row["next_retry"]) for row in self._rows(query, (to_text(now),))]

    def counts(self) -> dict[str, int]:
        """How many runs there are of each state."""
        return {row["state"]: row["n"] for row in self._rows("SELECT state, count(*) AS n FROM runs GROUP BY state")}

    def attempted_with(self, run_id: str) -> str | None:
        """The retry policy of its latest attempt."""
        (row,) = self._rows("SELECT next_retry FROM runs WHERE id = ?", (run_id,))
        return str(row["next_retry"]) if row["next_retry"] else None

    def change(self, run_id: str, was: Sequence[State] = OPEN, **columns: Any) -> bool:
        """Set columns of a run, if its state is one of these; tells whether. Raises `OutputTaken`."""
        names, states = ", ".join(f"{name} = ?" for name in columns), ", ".join("?" * len(was))
        values = [to_text(value) if isinstance(value, datetime) else value for value in columns.values()]
        with self._transaction():
            try:
                query = f"UPDATE runs SET {names} WHERE id = ? AND state IN ({states})"
                return bool(self._connection.execute(query, (*values, run_id, *was)).rowcount)
            except sqlite3.IntegrityError:
                raise OutputTaken("another open run has the same output") from None

    def to_carry_over(self, run: Run) -> str | None:
        """The output of the schedule's oldest run that is done and has left something which no other run has taken."""
        if run.schedule_id is None or run.due_at is None or run.trial:
            return None
        query = """
            SELECT output FROM runs AS earlier WHERE schedule_id = ? AND due_at < ? AND NOT trial AND state = 'done'
            AND json_extract(progress, '$.chunks') < json_extract(progress, '$.chunks_total')
            AND NOT EXISTS (SELECT 1 FROM runs AS taker WHERE taker.carry_over_from = earlier.output
                            AND taker.id != ? AND taker.state IN ('queued', 'running', 'done'))
            ORDER BY due_at LIMIT 1"""
        rows = self._rows(query, (run.schedule_id, to_text(run.due_at), run.id))
        return str(rows[0]["output"]) if rows else None

    def _insert(self, form: RunForm, schedule_id: str | None, due_at: datetime | None) -> str:
        taken = "SELECT id FROM runs WHERE output = ? AND state IN ('queued', 'running')"
        for row in self._rows(taken, (form.output,)):
            raise OutputTaken(f"output: {form.output} is that of the run {row['id']}, which is open")
        run_id, now = str(uuid4()), datetime.now(UTC)
        deadline = now + timedelta(seconds=form.deadline_seconds) if form.deadline_seconds else None
        self._connection.execute(
            "INSERT INTO runs (id, schedule_id, due_at, trial, output, form, created_at, deadline_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(run_id, schedule_id, to_text(due_at), form.trial, form.output),
                *(form.model_dump_json(), to_text(now), to_text(deadline)),
            ),
        )
        return run_id

    def _schedule(self, row: sqlite3.Row) -> Schedule:
        last_run = next(iter(self.runs(None, row["id"], 1)), None)
        return to_schedule(row, last_run)

    def _is_open(self, schedule_id: str, trial: bool) -> bool:
        query = "SELECT 1 FROM runs WHERE schedule_id = ? AND trial = ? AND state IN ('queued', 'running')"
        return bool(self._rows(query, (schedule_id, trial)))

    def _leave_out(self, schedule_id: str, why: str) -> None:
        self._connection.execute("UPDATE schedules SET left_out = ? WHERE id = ?", (why, schedule_id))

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, and nobody writes in between."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
