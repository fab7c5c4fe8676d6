"""The state of a run after its job has exited, from what the job has written beside its output."""

from datetime import datetime

from pydantic import ValidationError

from batch.command_line import FAILURE, Retry
from batch.output.folder import OutputFolder
from batch.output.names import SUCCESS, TRIAL
from batch.output.progress import Progress
from batch.registry.transitions import Outcome, resume_policy
from batch.schemas import Run


def read_progress(run: Run, folder: OutputFolder) -> Progress | None:
    """The latest report of the run's job; None if there is none."""
    try:
        path = folder.path / (TRIAL if run.trial else SUCCESS)
        return Progress.model_validate_json(path.read_bytes()) if path.exists() else folder.read_progress()
    except (OSError, ValidationError):
        return None


def resolve_outcome(
    run: Run,
    progress: Progress | None,
    is_finished: bool,
    last_retry: Retry | None,
    printed: str,
    *,
    stopping: bool,
    max_crashes: int,
    now: datetime,
) -> Outcome:
    """The next state of the run.

    `is_finished`: the output has its `_SUCCESS`. `last_retry`: the retry policy of this attempt, if not the run's own.
    `printed`: the end of the job's output. `stopping`: the manager shuts down and has stopped the job.
    """
    status, errors = (progress.status, progress.errors) if progress else (None, [])
    next_retry = resume_policy(run) if progress else last_retry  # still to be applied, if the job has not begun
    if status == "done" and (run.trial or is_finished):
        return Outcome("done", errors)
    if run.cancelling:
        return Outcome("cancelled", errors)
    if status == "failed" and progress:
        if run.retry == "none" and last_retry == "partial" and progress.failed_chunks:
            # A resumed run of the policy `none`: it is finished now, and the failed chunks are deferred.
            return Outcome("queued", errors, next_retry="none")
        return Outcome("failed", errors or printed.splitlines()[-1:])
    if (said := printed.rpartition("\n")[2]).startswith(FAILURE):  # it could not write its progress
        return Outcome("failed", [said.removeprefix(FAILURE)])
    if status == "late" or (run.on_deadline == "stop" and run.is_overdue(now)):
        return Outcome("late", errors or ["the deadline has passed: retry the run to go on"])
    if stopping:
        return Outcome("queued", [], next_retry=next_retry)
    crash = f"the job exited without a result: {printed or 'it printed nothing'}"
    if run.crashes + 1 >= max_crashes:
        return Outcome("failed", [crash], crashed=True)
    return Outcome("queued", [crash], crashed=True, next_retry=next_retry)
