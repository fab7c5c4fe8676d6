"""The control loop of the manager: triggers schedules, starts the jobs of queued runs, follows and finishes runs.

It has no state that matters: each tick begins from the registry and from the files that jobs write beside their
outputs. It may be killed at any moment: the next manager follows a job that is still there, and resumes a run whose
job is gone.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import get_args

from prometheus_client import Counter, Gauge

from batch.data_root import DataRoot
from batch.launchers.launcher import Launcher
from batch.output.folder import OutputFolder
from batch.output.progress import Progress
from batch.registry import transitions
from batch.registry.registry import Registry
from batch.scheduling.leader_lock import LeaderLock
from batch.scheduling.outcome import read_progress, resolve_outcome
from batch.scheduling.start_run import RunStarter
from batch.scheduling.trigger import ScheduleTrigger
from batch.schemas import Run, Schedule, State
from batch.settings import ManagerSettings
from common.service.background import add_background_thread
from common.service.service import Service

logger = logging.getLogger(__name__)
ALL = -1
STOP_POLL_SECONDS = 0.05
DEADLINE_GRACE = timedelta(seconds=5)
"""A job stops at its deadline by itself; the manager stops one that is later than this."""


class ControlLoop:
    """Calls `tick` again and again while the app runs. Only the leader does."""

    def __init__(
        self, app: Service, registry: Registry, launcher: Launcher, root: DataRoot, settings: ManagerSettings
    ) -> None:
        self._registry = registry
        self._launcher = launcher
        self._root = root
        self._settings = settings
        self._trigger = ScheduleTrigger(registry, root)
        self._starter = RunStarter(registry, launcher, root, settings)
        self._leader_lock = LeaderLock(registry.path.with_suffix(".lead"))
        self._runs = Gauge("runs", "Runs by state.", ["state"], registry=app.metrics.registry)
        self._rows = Counter("rows_done", "Rows processed by jobs.", registry=app.metrics.registry)
        add_background_thread(app, self.tick, "control loop", settings.poll_interval_seconds, self.stop_jobs)

    def tick(self) -> None:
        """Do everything that is due. A schedule or run that fails does not stop the others."""
        if not self._leader_lock.acquire():
            return
        now = datetime.now(UTC)
        for schedule in self._registry.due_schedules(now):
            self._try(self._trigger.trigger, schedule, now)
        for run in self._registry.runs("running", count=ALL):
            self._try(self._follow, run, now)
        for run, retry in self._registry.ready_to_start(now):
            self._try(self._starter.start_run, run, retry, now)
        for run_id in self._registry.remove_ended(now - timedelta(days=self._settings.history_days)):
            self._launcher.remove_log(run_id)
        counts = self._registry.counts()
        for state in get_args(State):
            self._runs.labels(state).set(counts.get(state, 0))

    def stop_jobs(self) -> None:
        """Stop all jobs, since the manager shuts down; the next manager resumes their runs."""
        if not self._leader_lock.is_held:
            return
        latest = time.monotonic() + 2 * self._settings.stop_timeout_seconds
        while (running := self._registry.runs("running", count=ALL)) and time.monotonic() < latest:
            for run in running:
                if self._launcher.is_alive(run.id):
                    self._launcher.stop(run.id, self._settings.stop_timeout_seconds)
                else:
                    self._try(self._finish, run, datetime.now(UTC), True)
            time.sleep(STOP_POLL_SECONDS)
        self._leader_lock.release()

    def _try(self, work: Callable[..., None], item: Run | Schedule, *arguments: object) -> None:
        try:
            work(item, *arguments)
        except Exception:
            logger.exception("%s failed, the next tick tries again", item.id)

    def _follow(self, run: Run, now: datetime) -> None:
        """Record the progress of a running job, stop it if it must stop, and finish the run once it has exited."""
        folder = self._folder(run)
        if not self._launcher.is_alive(run.id) and not folder.is_locked:
            self._finish(run, now, False)
            return
        progress = self._read_progress(run, folder)
        at_risk = run.is_overdue(now) or bool(progress and progress.at_risk)
        self._registry.apply(run.id, transitions.report(progress, at_risk))
        if run.cancelling or (run.on_deadline == "stop" and run.is_overdue(now - DEADLINE_GRACE)):
            self._launcher.stop(run.id, self._settings.stop_timeout_seconds)

    def _finish(self, run: Run, now: datetime, stopping: bool) -> None:
        """The job has exited: resolve the outcome, and record it."""
        printed, folder = self._root.shorten(self._launcher.clean_up(run.id)), self._folder(run)
        outcome = resolve_outcome(
            run,
            self._report(run, folder),
            folder.is_finished,
            self._registry.last_retry_policy(run.id),
            printed,
            stopping=stopping,
            max_crashes=self._settings.max_crashes,
            now=now,
        )
        progress = self._read_progress(run, folder)
        at_risk = run.is_overdue(now) or bool(run.trial and progress and progress.at_risk)
        self._registry.apply(run.id, transitions.finish(run, outcome, progress, at_risk, now))
        logger.info("run %s: %s %s", run.id, outcome.state, "; ".join(outcome.errors))

    def _read_progress(self, run: Run, folder: OutputFolder) -> Progress | None:
        """The latest progress of a run; counts the rows that have been processed since the last tick."""
        progress = self._report(run, folder) or run.progress
        before = run.progress.rows if run.progress else 0
        self._rows.inc(max(0, progress.rows - before) if progress else 0)
        return progress

    def _report(self, run: Run, folder: OutputFolder) -> Progress | None:
        """What its job has written last."""
        progress = read_progress(run, folder)
        if progress:
            progress.errors = [self._root.shorten(error) for error in progress.errors]
        return progress

    def _folder(self, run: Run) -> OutputFolder:
        return OutputFolder(self._root.path(run.output))
