"""What becomes of each due time of a schedule: a run, or a due time that is skipped, with the reason."""

from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from typing import NamedTuple

from batch.schemas import RunRequest, Schedule


class Start(NamedTuple):
    """A run is added."""

    due_at: datetime
    request: RunRequest


class Skip(NamedTuple):
    """No run is added."""

    reason: str


class ExistingRuns(NamedTuple):
    """What the registry holds: whether the schedule has an open run, its due times with a run, all open outputs."""

    has_open_run: bool
    due_times: Set[datetime]
    open_outputs: Mapping[str, str]
    """The id of the open run by its output."""


def plan_runs(
    schedule: Schedule, expected: datetime | None, requests: Sequence[tuple[datetime, RunRequest]], runs: ExistingRuns
) -> list[Start | Skip]:
    """Decide about each due time. `expected`: the first one that has passed; those before `requests` were missed."""
    plan: list[Start | Skip] = []
    if expected and (not requests or requests[0][0] > expected):
        until = f"until {_text(requests[0][0])}" if requests else "and after"
        plan.append(Skip(f"{_text(expected)} {until}: missed (catch_up={schedule.catch_up})"))
    has_open_run, open_outputs = runs.has_open_run, dict(runs.open_outputs)
    for due_at, request in requests:
        if schedule.overlap == "forbid" and has_open_run:
            plan.append(Skip(f"{_text(due_at)}: a run was still open (overlap=forbid)"))
        elif due_at in runs.due_times:
            continue
        elif owner := open_outputs.get(request.output):
            plan.append(Skip(f"{_text(due_at)}: the open run {owner} has the output {request.output}"))
        else:
            plan.append(Start(due_at, request))
            has_open_run = True
            open_outputs[request.output] = f"of {_text(due_at)}"
    return plan


def _text(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}Z"
