"""The clockwork of the manager: fires schedules, starts the jobs of runs that wait, follows them, closes the runs.

It remembers nothing that matters: each round begins from the registry and from what jobs have written beside their
outputs. So it may be killed at any moment: a job that is still there is followed on, one that is gone is taken up
again.
"""

import asyncio
import fcntl
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import IO

from prometheus_client import Counter, Gauge

from batch.data_root import DataRoot, refuse_other_answers
from batch.launchers.process import Launcher, LaunchError
from batch.output.folder import PROGRESS, TRIAL, OutputFolder
from batch.scheduling.outcome import Verdict, arguments, judge, told
from batch.scheduling.registry import Registry
from batch.scheduling.trigger import Firing
from batch.schemas import OPEN, Run, Schedule, State
from batch.settings import ManagerSettings
from common.service.problems import Problem
from common.service.service import Service

logger = logging.getLogger(__name__)
STATES: tuple[State, ...] = ("queued", "running", "done", "failed", "cancelled", "late")
ALL = -1
ENDING_SECONDS = 0.05
OVERTIME_SECONDS = 5.0
"""A job is to stop at its deadline by itself; one that is so late is stopped."""
LONGEST_PAUSE_SECONDS = 60.0


class Runner:
    """One round after another while the app runs. Of several managers with one registry only one has rounds."""

    def __init__(
        self, app: Service, registry: Registry, launcher: Launcher, root: DataRoot, settings: ManagerSettings
    ) -> None:
        self._app = app
        self._registry = registry
        self._launcher = launcher
        self._root = root
        self._firing = Firing(registry, root)
        self._settings = settings
        self._lead: IO[str] | None = None
        self._runs = Gauge("runs", "Runs by their state.", ["state"], registry=app.metrics.registry)
        self._rows = Counter("rows_done", "Rows that jobs have done.", registry=app.metrics.registry)
        app.add_lifespan(self._running)

    def round(self) -> None:
        """Everything that is to be done now; what fails in one schedule or run does not stop the others."""
        if not self._leads():
            return
        now = datetime.now(UTC)
        for schedule in self._registry.due_schedules(now):
            self._attempt(self._firing.fire, schedule, now)
        for run in self._registry.runs("running", count=ALL):
            self._attempt(self._follow, run)
        for run, retry in self._registry.ready_to_start(now):
            self._attempt(self._begin, run, retry, now)
        counts = self._registry.counts()
        for state in STATES:
            self._runs.labels(state).set(counts.get(state, 0))

    def end(self) -> None:
        """The manager ends, and so do its jobs; the next manager takes their runs up again."""
        latest = time.monotonic() + 2 * self._settings.stop_seconds
        while (running := self._registry.runs("running", count=ALL)) and time.monotonic() < latest:
            for run in running:
                if self._launcher.is_alive(run.id):
                    self._launcher.stop(run.id, self._settings.stop_seconds)
                else:
                    self._attempt(self._close, run, True)
            time.sleep(ENDING_SECONDS)

    def _attempt(self, work: Callable[..., None], item: Run | Schedule, *arguments: object) -> None:
        try:
            work(item, *arguments)
        except Exception:
            logger.exception("%s fails, the next round is the second try", item.id)

    def _follow(self, run: Run) -> None:
        """Note how far its job is; if there is none any more, close the run."""
        folder = self._folder(run)
        if not self._launcher.is_alive(run.id) and not folder.is_locked:
            self._close(run)
            return
        now = datetime.now(UTC)
        overdue = run.deadline_at is not None and now > run.deadline_at
        self._note(run, Verdict("running", run.errors), overdue)
        too_late = run.deadline_at and now > run.deadline_at + timedelta(seconds=OVERTIME_SECONDS)
        if run.cancelling or (too_late and run.on_deadline == "stop"):
            self._launcher.stop(run.id, self._settings.stop_seconds)

    def _close(self, run: Run, ending: bool = False) -> None:
        """Its job has ended: what has become of the run?"""
        printed = self._launcher.clear(run.id)
        folder = self._folder(run)
        verdict = judge(run, folder, self._registry.attempted_with(run.id), printed, ending, self._settings.max_deaths)
        self._note(run, verdict, overdue=run.deadline_at is not None and datetime.now(UTC) > run.deadline_at)
        logger.info("run %s: %s %s", run.id, verdict.state, "; ".join(verdict.errors))

    def _note(self, run: Run, verdict: Verdict, overdue: bool) -> None:
        """Enter into the registry how a run is."""
        progress = told(run, self._folder(run)) or run.progress
        before = run.progress.rows if run.progress else 0
        self._rows.inc(max(0, progress.rows - before) if progress else 0)
        now = datetime.now(UTC)
        columns: dict[str, object] = {
            "errors": json.dumps(verdict.errors),
            "at_risk": overdue or bool(progress and progress.at_risk and (run.trial or verdict.state == "running")),
            "progress": progress.model_dump_json() if progress else None,
        }
        if verdict.state != "running":
            columns |= {
                "state": verdict.state,
                "deaths": run.deaths + verdict.died,
                "next_retry": verdict.next_retry,
                "not_before": now + _pause(run.deaths) if verdict.died else None,
                "finished_at": None if verdict.state == "queued" else now,
            }
        if verdict.state not in OPEN:  # else a cancel that comes at this moment would be forgotten
            columns["cancelling"] = False
        self._registry.change(run.id, ["running"], **columns)

    def _begin(self, run: Run, retry: str | None, now: datetime) -> None:
        """Start its job, if it is still wanted and may run."""
        if run.cancelling:  # while its last job could not be started, or died
            self._registry.change(run.id, ["queued"], state="cancelled", cancelling=False, finished_at=now)
            return
        overdue = run.deadline_at is not None and now > run.deadline_at
        if overdue and run.on_deadline == "stop":
            errors = json.dumps(["the deadline was over before a job could be started"])
            self._registry.change(run.id, ["queued"], state="late", at_risk=True, errors=errors, finished_at=now)
            return
        if overdue and not run.at_risk:
            self._registry.change(run.id, ["queued"], at_risk=True)
        may_run = self._registry.counts().get("running", 0) < self._settings.max_running
        if may_run and not self._folder(run).is_locked:  # somebody else's job may be at work there
            self._launch(run, retry)

    def _launch(self, run: Run, retry: str | None) -> None:
        """The registry knows of a job before there is one: what is not known could be started twice."""
        folder = self._folder(run)
        carried_over = self._registry.to_carry_over(run) if run.retry == "none" else None
        entered = self._registry.change(
            run.id,
            ["queued"],
            state="running",
            attempts=run.attempts + 1,
            started_at=datetime.now(UTC),
            next_retry=retry,
            carry_over_from=carried_over,
            pid=None,
        )
        if not entered:
            return  # cancelled at this moment
        try:
            self._root.check(run.input, run.output)  # somebody may have put a link there since
            refuse_other_answers(self._root, run)
            if not folder.is_finished:  # what an earlier attempt has told would be taken for news
                for name in (PROGRESS, TRIAL):
                    (folder.path / name).unlink(missing_ok=True)
            sources = [self._root.path(name) for name in run.input]
            carry_from = self._root.path(carried_over) if carried_over else None
            pid = self._launcher.start(run.id, arguments(run, sources, folder.path, retry or run.retry, carry_from))
        except LaunchError as error:
            self._note(run, judge(run, folder, retry, str(error), False, self._settings.max_deaths), overdue=False)
        except Problem as problem:
            self._fail(run, problem.detail)
        except OSError as error:
            self._fail(run, str(error))
        else:
            self._registry.change(run.id, ["running"], pid=pid)

    def _fail(self, run: Run, why: str) -> None:
        """It cannot begin; what its output tells is perhaps of another run."""
        failed = {"state": "failed", "errors": json.dumps([why]), "finished_at": datetime.now(UTC)}
        self._registry.change(run.id, ["running"], **failed, cancelling=False)

    def _folder(self, run: Run) -> OutputFolder:
        return OutputFolder(self._root.path(run.output))

    def _leads(self) -> bool:
        """Whether this manager is the one that has rounds; the lock dies with its process."""
        if self._lead is None:
            lead = self._registry.path.with_suffix(".lead").open("a")
            try:
                fcntl.flock(lead, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lead.close()
                return False
            self._lead = lead
        return True

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        ending = asyncio.Event()
        task = asyncio.create_task(self._rounds(ending))
        try:
            yield
        finally:
            ending.set()
            await task

    async def _rounds(self, ending: asyncio.Event) -> None:
        while not (ending.is_set() or self._app.process.draining):
            try:
                await asyncio.to_thread(self.round)
            except Exception:
                logger.exception("a round failed, the next is the second try")
            try:
                async with asyncio.timeout(self._settings.tick_seconds):
                    await ending.wait()
            except TimeoutError:
                pass
        if self._lead:
            await asyncio.to_thread(self.end)
            self._lead.close()


def _pause(deaths: int) -> timedelta:
    """Before a job that has died is started again: none at first, then longer and longer."""
    return timedelta(seconds=min(2.0**deaths - 1, LONGEST_PAUSE_SECONDS))
