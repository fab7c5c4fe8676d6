"""The registry: schedules and runs in an SQLite file, which survives the manager.

A due time is triggered once: one transaction moves the schedule's next due time, if it has not been moved already, and
adds the runs, which are unique by schedule and due time. Two open runs never share an output: an index enforces it.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from batch.command_line import Retry
from batch.registry.database import Database
from batch.registry.plan_runs import ExistingRuns, Start, plan_runs
from batch.registry.tables import SCHEMA, to_run, to_schedule
from batch.registry.transitions import Transition
from batch.schemas import Run, RunRequest, Schedule, ScheduleRequest, State

DEFERRED = """state = 'done' AND json_extract(progress, '$.chunks') < json_extract(progress, '$.chunks_total')
    AND NOT EXISTS (SELECT 1 FROM runs AS taker WHERE taker.deferred_from = earlier.output
                    AND taker.id != ifnull(?, '') AND taker.state IN ('queued', 'running', 'done'))"""
"""The run `earlier` has deferred chunks that no other run has taken, apart from the run whose id is given."""


class OutputTaken(Exception):
    """Another open run has this output."""


class ScheduleTaken(Exception):
    """Another schedule has this name or output."""


class Registry:
    """What the SQLite file knows. Safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = Database(path, SCHEMA)

    def keep_open(self) -> AbstractContextManager[None]:
        """Close the file behind the block; the next block opens it again."""
        return self._database.keep_open()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add_schedule(
        self, request: ScheduleRequest, next_due: datetime | None, next_trial: datetime | None
    ) -> Schedule:
        """Store a schedule. Raises `ScheduleTaken`."""
        schedule_id = str(uuid4())
        with self._database.transaction():
            for name in ("name", "output"):
                query, value = "SELECT id FROM schedules WHERE json_extract(request, ?) = ?", getattr(request, name)
                for row in self._database.rows(query, f"$.{name}", value):
                    raise ScheduleTaken(f"{name}: the schedule {row['id']} has {value}: remove it, or use another")
            self._database.insert(
                "schedules",
                id=schedule_id,
                created_at=datetime.now(UTC),
                request=request.model_dump_json(),
                next_due=next_due,
                next_trial=next_trial,
            )
        (schedule,) = self.schedules(schedule_id)
        return schedule

    def schedules(self, schedule_id: str | None = None) -> list[Schedule]:
        """All schedules, or the one with this id."""
        rows = self._database.rows(
            "SELECT * FROM schedules WHERE id = ifnull(?, id) ORDER BY created_at, id", schedule_id
        )
        return [self._schedule(row) for row in rows]

    def due_schedules(self, now: datetime) -> list[Schedule]:
        """The schedules with a due time that has passed."""
        query = "SELECT * FROM schedules WHERE next_due <= ? OR next_trial <= ? ORDER BY created_at, id"
        return [self._schedule(row) for row in self._database.rows(query, now, now)]

    def remove_schedule(self, schedule_id: str) -> bool:
        """Remove a schedule; False if there is none. Its runs stay."""
        with self._database.transaction():
            return bool(self._database.change("DELETE FROM schedules WHERE id = ?", schedule_id))

    def trigger(
        self,
        schedule: Schedule,
        requests: Sequence[tuple[datetime, RunRequest]],
        next_due: datetime | None,
        trial: bool,
    ) -> int:
        """Add the runs of these due times and set the next one; returns how many runs were added.

        Does nothing if another manager has triggered the schedule in the meantime.
        """
        column, expected = ("next_trial", schedule.next_trial) if trial else ("next_due", schedule.next_due)
        with self._database.transaction():
            query = f"UPDATE schedules SET {column} = ? WHERE id = ? AND {column} = ?"
            if not self._database.change(query, next_due, schedule.id, expected):
                return 0
            since = requests[0][0] if requests else datetime.now(UTC)
            plan = plan_runs(schedule, expected, requests, self._existing_runs(schedule.id, trial, since))
            for step in plan:
                if isinstance(step, Start):
                    self._insert_run(step.request, schedule.id, step.due_at)
                else:
                    query = "UPDATE schedules SET skipped = ? WHERE id = ?"
                    self._database.change(query, step.reason, schedule.id)
            return sum(isinstance(step, Start) for step in plan)

    def add_run(self, request: RunRequest) -> Run:
        """Store a run that starts as soon as possible. Raises `OutputTaken`."""
        with self._database.transaction():
            for row in self._database.rows(
                "SELECT id FROM runs WHERE output = ? AND state IN ('queued', 'running')", request.output
            ):
                raise OutputTaken(f"output: {request.output} is that of the run {row['id']}, which is open")
            run_id = self._insert_run(request, None, None)
        return self.run(run_id)

    def run(self, run_id: str) -> Run:
        """The run with this id. Raises `KeyError`."""
        for row in self._database.rows("SELECT * FROM runs WHERE id = ?", run_id):
            return to_run(row)
        raise KeyError(run_id)

    def runs(self, state: State | None = None, schedule_id: str | None = None, count: int = 100) -> list[Run]:
        """The newest first; a negative count means all."""
        query = "SELECT * FROM runs WHERE state = ifnull(?, state) AND (? IS NULL OR schedule_id = ?)"
        rows = self._database.rows(f"{query} ORDER BY number DESC LIMIT ?", state, schedule_id, schedule_id, count)
        return [to_run(row) for row in rows]

    def ready_to_start(self, now: datetime) -> list[tuple[Run, Retry | None]]:
        """The queued runs, the oldest first, each with the retry policy if it is not the run's own."""
        ready = "state = 'queued' AND (ifnull(not_before, '') <= ? OR cancelling)"
        return [
            (to_run(row), row["next_retry"])
            for row in self._database.rows(f"SELECT * FROM runs WHERE {ready} ORDER BY number", now)
        ]

    def counts(self) -> dict[str, int]:
        """The number of runs by state."""
        return {
            row["state"]: row["n"]
            for row in self._database.rows("SELECT state, count(*) AS n FROM runs GROUP BY state")
        }

    def last_retry_policy(self, run_id: str) -> Retry | None:
        """The retry policy of the latest attempt, if it was not the run's own."""
        (row,) = self._database.rows("SELECT next_retry FROM runs WHERE id = ?", run_id)
        policy: Retry | None = row["next_retry"]
        return policy

    def apply(self, run_id: str, transition: Transition) -> bool:
        """Make a transition; False if the run is in another state by now. Raises `OutputTaken`."""
        names = ", ".join(f"{name} = ?" for name in transition.columns)
        states = ", ".join("?" * len(transition.expected))
        query = f"UPDATE runs SET {names} WHERE id = ? AND state IN ({states})"
        with self._database.transaction():
            try:
                return bool(self._database.change(query, *transition.columns.values(), run_id, *transition.expected))
            except sqlite3.IntegrityError:
                raise OutputTaken("another open run has the same output") from None

    def deferred_output(self, run: Run) -> str | None:
        """The output of the schedule's oldest finished run with deferred chunks that no other run has taken."""
        if run.schedule_id is None or run.due_at is None or run.trial:
            return None
        query = f"""
            SELECT output FROM runs AS earlier WHERE schedule_id = ? AND due_at < ? AND NOT trial AND {DEFERRED}
            ORDER BY due_at LIMIT 1"""
        rows = self._database.rows(query, run.schedule_id, run.due_at, run.id)
        return str(rows[0]["output"]) if rows else None

    def remove_ended(self, before: datetime) -> list[str]:
        """Forget the runs that ended before; returns their ids. One whose deferred chunks no run has taken stays."""
        query = f"""
            SELECT id FROM runs AS earlier WHERE state NOT IN ('queued', 'running') AND finished_at < ?
            AND NOT (schedule_id IS NOT NULL AND NOT trial AND {DEFERRED})"""
        with self._database.transaction():
            removed = [str(row["id"]) for row in self._database.rows(query, before, None)]
            for run_id in removed:
                self._database.change("DELETE FROM runs WHERE id = ?", run_id)
        return removed

    def _existing_runs(self, schedule_id: str, trial: bool, since: datetime) -> ExistingRuns:
        open_runs = self._database.rows("SELECT * FROM runs WHERE state IN ('queued', 'running')")
        own = "SELECT due_at FROM runs WHERE schedule_id = ? AND trial = ? AND due_at >= ?"
        return ExistingRuns(
            has_open_run=any((row["schedule_id"], row["trial"]) == (schedule_id, trial) for row in open_runs),
            due_times={
                datetime.fromisoformat(row["due_at"]) for row in self._database.rows(own, schedule_id, trial, since)
            },
            open_outputs={row["output"]: row["id"] for row in open_runs},
        )

    def _insert_run(self, request: RunRequest, schedule_id: str | None, due_at: datetime | None) -> str:
        run_id, now = str(uuid4()), datetime.now(UTC)
        self._database.insert(
            "runs",
            id=run_id,
            schedule_id=schedule_id,
            due_at=due_at,
            trial=request.trial,
            output=request.output,
            request=request.model_dump_json(),
            created_at=now,
            deadline_at=now + timedelta(seconds=request.deadline_seconds) if request.deadline_seconds else None,
        )
        return run_id

    def _schedule(self, row: sqlite3.Row) -> Schedule:
        return to_schedule(row, next(iter(self.runs(None, row["id"], 1)), None))
