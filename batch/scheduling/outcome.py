"""What has become of a run whose job has ended: read from what the job has left beside its output."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from batch.output.folder import SUCCESS, TRIAL, OutputFolder
from batch.output.progress import Progress
from batch.schemas import Run, State

SOONEST_DEADLINE = 0.001


class Verdict(NamedTuple):
    """The run's next state; `queued` is to be taken up again, and `next_retry` says how."""

    state: State
    errors: list[str]
    died: bool = False
    next_retry: str | None = None


def arguments(run: Run, inputs: Sequence[Path], output: Path, retry: str, carry_over_from: Path | None) -> list[str]:
    """The command line of its job, after `run`."""
    given = [f"--input={path}" for path in inputs] + [
        f"--output={output}",
        f"--engine={run.engine}",
        f"--retry={retry}",
    ]
    given += [f"--first={run.first}"] if run.first else []
    given += [f"--last={run.last}"] if run.last else []
    given += [f"--carry-over-from={carry_over_from}"] if carry_over_from else []
    if run.deadline_at:
        left = (run.deadline_at - datetime.now(UTC)).total_seconds()
        given += [f"--deadline-seconds={max(left, SOONEST_DEADLINE):.3f}", f"--on-deadline={run.on_deadline}"]
    return [*given, "--trial"] if run.trial else given


def told(run: Run, folder: OutputFolder) -> Progress | None:
    """What the job of the latest attempt has told so far."""
    try:
        for name in [TRIAL] if run.trial else [SUCCESS]:
            if (folder.path / name).exists():
                return Progress.model_validate_json((folder.path / name).read_bytes())
        return folder.progress()
    except (OSError, ValidationError):
        return None


def judge(
    run: Run, folder: OutputFolder, attempted_with: str | None, printed: str, ending: bool, max_deaths: int
) -> Verdict:
    """`ending`: the manager ends and has told the job to."""
    progress = told(run, folder)
    status, errors = (progress.status, progress.errors) if progress else (None, [])
    # A job that has told nothing did not begin: what was asked of it is still to be done.
    resumed_with = ("all" if run.retry == "all" else "partial") if progress else attempted_with
    if status == "done" and (run.trial or folder.is_finished):
        return Verdict("done", errors)
    if run.cancelling:
        return Verdict("cancelled", errors)
    if status == "failed" and progress:
        if run.retry == "none" and attempted_with == "partial" and progress.failed_chunks:
            # It was taken up again, which nobody does with `none`; what failed is now left to the next run.
            return Verdict("queued", errors, next_retry="none")
        return Verdict("failed", errors or printed.splitlines()[-1:])
    if status == "late" or (run.deadline_at and run.on_deadline == "stop" and datetime.now(UTC) > run.deadline_at):
        return Verdict("late", errors or ["the deadline is over: retry it to go on"])
    if ending:
        return Verdict("queued", [], next_retry=resumed_with)
    how = f"a job of this run ended without a word: {printed or 'it printed nothing'}"
    if run.deaths + 1 >= max_deaths:
        return Verdict("failed", [how], died=True)
    return Verdict("queued", [how], died=True, next_retry=resumed_with)
