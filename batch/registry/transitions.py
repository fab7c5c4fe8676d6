"""The state machine of a run: each transition names the states it may start from and gives the columns it sets.

`Registry.apply` makes a transition only if the run is still in one of those states, in one statement. No other code
changes the state of a run. The README has the table.
"""

import json
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from batch.command_line import Retry
from batch.output.progress import Progress
from batch.schemas import Run, State

MAX_PAUSE_SECONDS = 60.0
RETRYABLE: tuple[State, ...] = ("failed", "cancelled", "late")


class Transition(NamedTuple):
    """The states that a run may be in before, and the columns that are set."""

    expected: tuple[State, ...]
    columns: dict[str, Any]


class Outcome(NamedTuple):
    """The state of a run after its job has exited. `queued`: it is resumed, with the policy `next_retry`."""

    state: State
    errors: list[str]
    crashed: bool = False
    next_retry: Retry | None = None


def start(run: Run, retry: Retry | None, deferred_from: str | None, now: datetime) -> Transition:
    """A job is about to be started."""
    return Transition(
        ("queued",),
        {
            "state": "running",
            "attempts": run.attempts + 1,
            "started_at": now,
            "next_retry": retry,
            "deferred_from": deferred_from,
            "pid": None,
        },
    )


def record_pid(pid: int | None) -> Transition:
    """The job has been started."""
    return Transition(("running",), {"pid": pid})


def report(progress: Progress | None, at_risk: bool) -> Transition:
    """The job is still at work."""
    return Transition(("running",), {"progress": _to_json(progress), "at_risk": at_risk})


def finish(run: Run, outcome: Outcome, progress: Progress | None, at_risk: bool, now: datetime) -> Transition:
    """The job has exited: the run has ended, or is queued again."""
    columns: dict[str, Any] = {
        "state": outcome.state,
        "errors": json.dumps(outcome.errors),
        "progress": _to_json(progress),
        "at_risk": at_risk,
        "crashes": run.crashes + outcome.crashed,
        "next_retry": outcome.next_retry,
        "not_before": now + _pause(run.crashes) if outcome.crashed else None,
        "finished_at": None if outcome.state == "queued" else now,
    }
    if outcome.state != "queued":  # a queued run keeps a cancel request that has arrived in the meantime
        columns["cancelling"] = False
    return Transition(("running",), columns)


def reject(error: str, now: datetime) -> Transition:
    """The job cannot be started, and another attempt would not help."""
    columns = {"state": "failed", "errors": json.dumps([error]), "finished_at": now, "cancelling": False}
    return Transition(("running",), columns)


def mark_at_risk() -> Transition:
    """The deadline has passed before a job was started; the run may finish late."""
    return Transition(("queued",), {"at_risk": True})


def expire(now: datetime) -> Transition:
    """The deadline has passed before a job was started; with `on_deadline: stop` that ends the run."""
    errors = json.dumps(["the deadline passed before a job could be started"])
    return Transition(("queued",), {"state": "late", "at_risk": True, "errors": errors, "finished_at": now})


def cancel(now: datetime) -> Transition:
    """A client cancels a run that has no job: there is nothing to stop."""
    return Transition(("queued",), {"state": "cancelled", "cancelling": False, "finished_at": now})


def request_cancel() -> Transition:
    """A client cancels a run that has a job: the control loop stops the job, and then finishes the run."""
    return Transition(("running",), {"cancelling": True})


def queue_again(run: Run, retry: Retry | None, now: datetime) -> Transition:
    """A client retries a run that has ended; its deadline starts again."""
    return Transition(
        RETRYABLE,
        {
            "state": "queued",
            "next_retry": retry or resume_policy(run),
            "deadline_at": now + timedelta(seconds=run.deadline_seconds) if run.deadline_seconds else None,
            "not_before": None,
            "finished_at": None,
            "crashes": 0,
            "at_risk": False,
            "errors": json.dumps([]),
        },
    )


def resume_policy(run: Run) -> Retry:
    """How a run that has begun is resumed: `none` is for the first attempt only."""
    return "all" if run.retry == "all" else "partial"


def _pause(crashes: int) -> timedelta:
    """Before the next job: none after the first crash, then longer each time."""
    return timedelta(seconds=min(2.0**crashes - 1, MAX_PAUSE_SECONDS))


def _to_json(progress: Progress | None) -> str | None:
    return progress.model_dump_json() if progress else None
