"""The endpoints of the manager. They write what is wanted into the registry; it is done in the runner's next round."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from batch.data_root import DataRoot, refuse_other_answers
from batch.scheduling.cron import Rule, fill_template
from batch.scheduling.registry import OutputTaken, Registry
from batch.schemas import OPEN, RetryForm, Run, RunForm, Schedule, ScheduleForm, State
from common.service.problems import Problem

SEE = {"description": "see detail"}
NEWEST = 100


def add_schedules(router: APIRouter, registry: Registry, root: DataRoot) -> None:
    """Schedules: add, list, remove."""

    @router.post("/schedules", status_code=201, responses={422: SEE})
    def add_schedule(form: ScheduleForm, response: Response) -> Schedule:
        """Have a run started at each due time of a rule."""
        rule, now = Rule(form.rule, form.time_zone), datetime.now(UTC)
        next_due = rule.next_due(now)
        inputs, output = [fill_template(path, next_due or now, rule.zone) for path in (*form.input,)], form.output
        root.check(inputs, fill_template(output, next_due or now, rule.zone))
        next_trial = Rule(form.trial_rule, form.time_zone).next_due(now) if form.trial_rule else None
        schedule = registry.add_schedule(form, next_due, next_trial)
        response.headers["Location"] = f"/schedules/{schedule.id}"
        return schedule

    @router.get("/schedules")
    def list_schedules() -> list[Schedule]:
        """All, with when they are due next and their last run."""
        return registry.schedules()

    @router.get("/schedules/{schedule_id}", responses={404: SEE, 422: SEE})
    def get_schedule(schedule_id: UUID) -> Schedule:
        """One of them."""
        for schedule in registry.schedules(str(schedule_id)):
            return schedule
        raise Problem(404, f"there is no schedule {schedule_id}")

    @router.delete("/schedules/{schedule_id}", status_code=204, responses={404: SEE, 422: SEE})
    def remove_schedule(schedule_id: UUID) -> None:
        """Remove it. Its runs stay, those that are open too."""
        if not registry.remove_schedule(str(schedule_id)):
            raise Problem(404, f"there is no schedule {schedule_id}")


def add_runs(router: APIRouter, registry: Registry, root: DataRoot) -> None:
    """Runs: start, list, look at, take up again, cancel."""

    def find(run_id: UUID) -> Run:
        try:
            return registry.run(str(run_id))
        except KeyError:
            raise Problem(404, f"there is no run {run_id}") from None

    @router.post("/runs", status_code=201, responses={409: SEE, 422: SEE})
    def add_run(form: RunForm, response: Response) -> Run:
        """Have a run started as soon as it can be."""
        form.input, form.output = root.check(form.input, form.output)
        form = form.in_place()
        refuse_other_answers(root, form)
        try:
            run = registry.add_run(form)
        except OutputTaken as error:
            raise Problem(409, str(error)) from None
        response.headers["Location"] = f"/runs/{run.id}"
        return run

    @router.get("/runs", responses={422: SEE})
    def list_runs(
        state: State | None = None,
        schedule_id: UUID | None = None,
        count: Annotated[int, Query(ge=1, le=1_000)] = NEWEST,
    ) -> list[Run]:
        """The newest first."""
        return registry.runs(state, str(schedule_id) if schedule_id else None, count)

    @router.get("/runs/{run_id}", responses={404: SEE, 422: SEE})
    def get_run(run_id: UUID) -> Run:
        """All that is known of it."""
        return find(run_id)

    @router.post("/runs/{run_id}/retry", status_code=202, responses={404: SEE, 409: SEE, 422: SEE})
    def retry_run(run_id: UUID, form: RetryForm | None = None) -> Run:
        """Take up a run that has failed, was cancelled or came too late; its deadline begins anew."""
        run = find(run_id)
        retry = (form and form.retry) or ("all" if run.retry == "all" else "partial")
        allowed = run.deadline_seconds
        anew: dict[str, Any] = {"deadline_at": datetime.now(UTC) + timedelta(seconds=allowed) if allowed else None}
        anew |= {"state": "queued", "next_retry": retry, "not_before": None, "finished_at": None, "deaths": 0}
        anew |= {"at_risk": False, "errors": json.dumps([])}
        try:
            if registry.change(run.id, ["failed", "cancelled", "late"], **anew):
                return registry.run(run.id)
        except OutputTaken as error:
            raise Problem(409, f"output: {run.output}: {error}") from None
        now = find(run_id).state
        raise Problem(409, f"the run is {now}: only one that is failed, cancelled or late can be taken up again")

    @router.post("/runs/{run_id}/cancel", status_code=202, responses={404: SEE, 409: SEE, 422: SEE})
    def cancel_run(run_id: UUID) -> Run:
        """End it; what is done stays, and a retry goes on from there."""
        run = find(run_id)
        cancelled = {"state": "cancelled", "cancelling": False, "finished_at": datetime.now(UTC)}
        if registry.change(run.id, ["queued"], **cancelled) or registry.change(run.id, ["running"], cancelling=True):
            return registry.run(run.id)
        raise Problem(409, f"the run is {find(run_id).state}: only one of {', '.join(OPEN)} can be cancelled")
