"""The endpoints of schedules: add, list, get, remove."""

from datetime import UTC, datetime
from posixpath import normpath
from uuid import UUID

from fastapi import APIRouter, Request, Response

from batch.data_root import DataRoot
from batch.endpoints.engine_check import check_engine
from batch.launchers.launcher import Launcher
from batch.registry.registry import Registry, ScheduleTaken
from batch.scheduling.cron import Rule, fill_template
from batch.schemas import Schedule, ScheduleRequest
from common.service.body.route import BODY_STATUSES, BodyRoute
from common.service.problems import Problem
from common.service.responses import problems
from common.service.root_path import location


def schedule_endpoints(registry: Registry, root: DataRoot, launcher: Launcher) -> APIRouter:
    """The router of `/schedules`."""
    router = APIRouter(route_class=BodyRoute)

    @router.post("/schedules", status_code=201, responses=problems(409, *BODY_STATUSES))
    def add_schedule(request: ScheduleRequest, http: Request, response: Response) -> Schedule:
        """Start a run at each due time of a rule."""
        check_engine(launcher, request.engine)
        rule, now = Rule(request.rule, request.time_zone), datetime.now(UTC)
        next_due = rule.next_due(now)
        paths = [fill_template(path, next_due or now, rule.zone) for path in (*request.input, request.output)]
        root.check(paths[:-1], paths[-1])
        request.output = normpath(request.output)
        next_trial = Rule(request.trial_rule, request.time_zone).next_due(now) if request.trial_rule else None
        try:
            schedule = registry.add_schedule(request, next_due, next_trial)
        except ScheduleTaken as error:
            raise Problem(409, str(error)) from None
        response.headers["Location"] = location(http, f"/schedules/{schedule.id}")
        return schedule

    @router.get("/schedules")
    def list_schedules() -> list[Schedule]:
        """All schedules, with their next due time and their last run."""
        return registry.schedules()

    @router.get("/schedules/{schedule_id}", responses=problems(404, 422))
    def get_schedule(schedule_id: UUID) -> Schedule:
        """One schedule."""
        for schedule in registry.schedules(str(schedule_id)):
            return schedule
        raise Problem(404, f"there is no schedule {schedule_id}")

    @router.delete("/schedules/{schedule_id}", status_code=204, responses=problems(404, 422))
    def remove_schedule(schedule_id: UUID) -> None:
        """Remove a schedule. Its runs stay, and open runs go on."""
        if not registry.remove_schedule(str(schedule_id)):
            raise Problem(404, f"there is no schedule {schedule_id}")

    return router
