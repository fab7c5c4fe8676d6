"""The command line of a run's job."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from batch.command_line import Retry
from batch.schemas import Run

MIN_DEADLINE_SECONDS = 0.001


def job_arguments(
    run: Run, inputs: Sequence[Path], output: Path, retry: Retry, deferred_from: Path | None, now: datetime
) -> list[str]:
    """The arguments after `python -m batch.job run`; the deadline is what is left of it."""
    arguments = [*(f"--input={path}" for path in inputs), f"--output={output}"]
    arguments += [f"--engine={run.engine}", f"--retry={retry}"]
    arguments += [f"--first={run.first}"] if run.first else []
    arguments += [f"--last={run.last}"] if run.last else []
    arguments += [f"--deferred-from={deferred_from}"] if deferred_from else []
    if run.deadline_at:
        remaining = max((run.deadline_at - now).total_seconds(), MIN_DEADLINE_SECONDS)
        arguments += [f"--deadline-seconds={remaining:.3f}", f"--on-deadline={run.on_deadline}"]
    return [*arguments, "--trial"] if run.trial else arguments
