"""Starts the job of a queued run, if it is still wanted and may start."""

from datetime import UTC, datetime

from batch.command_line import Retry
from batch.data_root import DataRoot, check_output
from batch.launchers.command import job_arguments
from batch.launchers.launcher import Launcher, LaunchError
from batch.output.folder import OutputFolder
from batch.output.names import PROGRESS, TRIAL
from batch.output.refusals import writing_into
from batch.registry import transitions
from batch.registry.registry import Registry
from batch.scheduling.outcome import resolve_outcome
from batch.schemas import Run
from batch.settings import ManagerSettings
from common.service.problems import Problem


class RunStarter:
    """Starts jobs, at most MAX_CONCURRENT_RUNS at a time."""

    def __init__(self, registry: Registry, launcher: Launcher, root: DataRoot, settings: ManagerSettings) -> None:
        self._registry = registry
        self._launcher = launcher
        self._root = root
        self._settings = settings

    def start_run(self, run: Run, retry: Retry | None, now: datetime) -> None:
        """Start, cancel or expire a queued run, or leave it queued. `retry`: the policy, if not the run's own."""
        apply = self._registry.apply
        if run.cancelling:  # requested before its last job crashed
            apply(run.id, transitions.cancel(now))
        elif run.is_overdue(now) and run.on_deadline == "stop":
            apply(run.id, transitions.expire(now))
        else:
            if run.is_overdue(now) and not run.at_risk:
                apply(run.id, transitions.mark_at_risk())
            if self._may_start(run):
                self._start(run, retry, now)

    def _may_start(self, run: Run) -> bool:
        """Whether a job may start: there may be too many, or a job of another manager on the same output."""
        is_free = self._registry.counts().get("running", 0) < self._settings.max_concurrent_runs
        return is_free and not OutputFolder(self._root.path(run.output)).is_locked

    def _start(self, run: Run, retry: Retry | None, now: datetime) -> None:
        """The registry is changed before the job starts: an unknown job could be started twice."""
        deferred_from = self._registry.deferred_output(run)
        if not self._registry.apply(run.id, transitions.start(run, retry, deferred_from, now)):
            return  # cancelled in the meantime
        try:
            pid = self._launch(run, retry, deferred_from)
        except LaunchError as error:
            crashes = self._settings.max_crashes
            outcome = resolve_outcome(
                run, None, False, retry, str(error), stopping=False, max_crashes=crashes, now=datetime.now(UTC)
            )
            transition = transitions.finish(run, outcome, run.progress, at_risk=False, now=datetime.now(UTC))
        except (Problem, OSError) as error:
            message = error.detail if isinstance(error, Problem) else self._root.shorten(str(error))
            transition = transitions.reject(message, datetime.now(UTC))
        else:
            transition = transitions.record_pid(pid)
        self._registry.apply(run.id, transition)

    def _launch(self, run: Run, retry: Retry | None, deferred_from: str | None) -> int | None:
        self._root.check(run.input, run.output)  # again: a symbolic link may have been created since the request
        check_output(self._root, run)
        folder = OutputFolder(self._root.path(run.output))
        if not folder.is_finished:  # the progress of an earlier attempt would be taken for that of this one
            with writing_into(folder.path):
                for name in (PROGRESS, TRIAL):
                    (folder.path / name).unlink(missing_ok=True)
        inputs = [self._root.path(name) for name in run.input]
        source = self._root.path(deferred_from) if deferred_from else None
        arguments = job_arguments(run, inputs, folder.path, retry or run.retry, source, datetime.now(UTC))
        return self._launcher.start(run.id, arguments)
