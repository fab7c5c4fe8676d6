"""The endpoints of runs: start, list, get, retry, cancel."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from batch.data_root import DataRoot, check_output
from batch.endpoints.engine_check import check_engine
from batch.launchers.launcher import Launcher
from batch.registry import transitions
from batch.registry.registry import OutputTaken, Registry
from batch.schemas import RetryRequest, Run, RunRequest, State
from common.service.body.route import BODY_STATUSES, BodyRoute
from common.service.problems import Problem
from common.service.responses import problems
from common.service.root_path import location

DEFAULT_COUNT = 100


def run_endpoints(registry: Registry, root: DataRoot, launcher: Launcher) -> APIRouter:
    """The router of `/runs`."""
    router = APIRouter(route_class=BodyRoute)

    def find(run_id: UUID) -> Run:
        try:
            return registry.run(str(run_id))
        except KeyError:
            raise Problem(404, f"there is no run {run_id}") from None

    @router.post("/runs", status_code=201, responses=problems(409, *BODY_STATUSES))
    def add_run(request: RunRequest, http: Request, response: Response) -> Run:
        """Start a run as soon as possible."""
        check_engine(launcher, request.engine)
        if request.retry == "none":
            why = "defers failed chunks to the schedule's next run, and this run has no schedule"
            raise Problem(422, f"retry: none {why}: use partial or all")
        request.input, request.output = root.check(request.input, request.output)
        request = request.with_trial_output()
        check_output(root, request)
        try:
            run = registry.add_run(request)
        except OutputTaken as error:
            raise Problem(409, str(error)) from None
        response.headers["Location"] = location(http, f"/runs/{run.id}")
        return run

    @router.get("/runs", responses=problems(422))
    def list_runs(
        state: State | None = None,
        schedule_id: UUID | None = None,
        count: Annotated[int, Query(ge=1, le=1_000)] = DEFAULT_COUNT,
    ) -> list[Run]:
        """The newest runs first."""
        return registry.runs(state, str(schedule_id) if schedule_id else None, count)

    @router.get("/runs/{run_id}", responses=problems(404, 422))
    def get_run(run_id: UUID) -> Run:
        """One run."""
        return find(run_id)

    @router.post("/runs/{run_id}/retry", status_code=202, responses=problems(404, 409, *BODY_STATUSES))
    def retry_run(run_id: UUID, request: RetryRequest | None = None) -> Run:
        """Resume a run that is failed, cancelled or late; its deadline starts again."""
        run, retry = find(run_id), request.retry if request else None
        if retry == "none" and not (run.schedule_id and registry.schedules(run.schedule_id)):
            raise Problem(409, "retry: the run has no schedule, so no next run would take the chunks: use partial")
        transition = transitions.queue_again(run, retry, datetime.now(UTC))
        try:
            if registry.apply(run.id, transition):
                return registry.run(run.id)
        except OutputTaken as error:
            raise Problem(409, f"output: {run.output}: {error}") from None
        raise Problem(409, f"the run is {find(run_id).state}: only a failed, cancelled or late run can be retried")

    @router.post("/runs/{run_id}/cancel", status_code=202, responses=problems(404, 409, 422))
    def cancel_run(run_id: UUID) -> Run:
        """Stop a run; finished chunks stay, and a retry goes on from there."""
        run = find(run_id)
        if registry.apply(run.id, transitions.cancel(datetime.now(UTC))):
            return registry.run(run.id)
        if registry.apply(run.id, transitions.request_cancel()):
            return registry.run(run.id)
        raise Problem(409, f"the run is {find(run_id).state}: only a queued or running run can be cancelled")

    return router
