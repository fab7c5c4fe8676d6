"""Endpoints for submitted jobs: their state, now or when it changes, cancelling, and the dead letters."""

from collections.abc import AsyncIterable
from math import inf
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from redis.asyncio import Redis

from asynchronous.queue import EVENTS, JobQueue
from asynchronous.queue_monitor import QueueMonitor
from asynchronous.schemas import Accepted, DeadLetter, Job, to_dead_letter, to_job
from asynchronous.settings import ProxySettings
from common.jobs.redis_connection import redis_deadline
from common.jobs.subscription import JobSubscription
from common.service.problems import Problem
from common.service.request_context import RequestContext, cancel_on_disconnect, request_context
from common.service.responses import problems
from common.service.root_path import location
from common.service.service import Service

CANCELLED = "cancelled by the client"
TOO_MANY = "too many clients are waiting: fetch the job later"
NO_PREDICTOR = "a predictor: none is running"
NOT_FOUND = "it never existed, has expired, or Redis has lost its data"


def job_router(
    app: Service, redis: Redis, queue: JobQueue, monitor: QueueMonitor, settings: ProxySettings
) -> APIRouter:
    """The endpoints under /jobs/{job_id} and /dead-letters."""
    router = APIRouter(responses=problems(404, 422, 503))
    subscription = JobSubscription(app, redis, EVENTS, settings.max_waiting_requests)

    async def find(job_id: UUID, request: Request) -> Job:
        context = request_context(request)
        context.log["job_id"] = job_id
        async with redis_deadline(context, "queue"):
            return await fetch(str(job_id))

    async def find_to_follow(job: Annotated[Job, Depends(find)]) -> Job:
        if subscription.is_full and not job.ended:
            raise Problem(503, TOO_MANY, {"Retry-After": "1"})
        return job

    async def fetch(job_id: str) -> Job:
        if not (fields := await queue.get(job_id)):
            raise Problem(404, f"job_id: there is no job {job_id}: {NOT_FOUND}")
        job = to_job(job_id, fields)
        if job.status == "queued" and settings.trigger == "queue" and not monitor.predictors_alive:
            job.waiting_for = NO_PREDICTOR
        return job

    async def wait_for(job: Job, seconds: float) -> Job:
        async for newer in subscription.states(job.job_id, fetch, has_ended, seconds):
            job = newer
        return job

    @router.get("/jobs/{job_id}")
    async def get_job(
        job: Annotated[Job, Depends(find)],
        request: Request,
        response: Response,
        wait: Annotated[float, Query(ge=0, allow_inf_nan=False, description="seconds, until it has ended")] = 0,
    ) -> Job:
        """The job's state; with `wait` once it has ended, or after so many seconds as it is.

        If MAX_WAITING_REQUESTS clients wait already, this one gets it at once.
        """
        if wait and not job.ended and not subscription.is_full:
            job = await cancel_on_disconnect(request, wait_for(job, min(wait, settings.max_wait_seconds)))
        if not job.ended:
            response.headers["Retry-After"] = "1"
        _add_timings(job, request_context(request))
        return job

    @router.get("/jobs/{job_id}/events", response_class=EventSourceResponse)
    async def get_events(job: Annotated[Job, Depends(find_to_follow)]) -> AsyncIterable[ServerSentEvent]:
        """The job's states, each as an event of that name with the job as its data, from now until it has ended.

        `gone` is the last event of a job that exists no more.
        """
        yield ServerSentEvent(event=job.status, data=job)
        if job.ended:
            return
        try:
            async for newer in subscription.states(job.job_id, fetch, has_ended, inf):
                if newer.status != job.status:
                    yield ServerSentEvent(event=newer.status, data=newer)
                job = newer
        except Problem as problem:
            yield ServerSentEvent(event="gone", data={"detail": problem.detail})

    @router.delete("/jobs/{job_id}", responses=problems(409))
    async def cancel_job(job: Annotated[Job, Depends(find)], request: Request) -> Job:
        """Cancel a job that has not started."""
        if settings.trigger != "queue":
            raise Problem(409, f"TRIGGER={settings.trigger} cannot cancel a job: only TRIGGER=queue can")
        async with redis_deadline(request_context(request), "queue"):
            state = await queue.cancel(job.job_id, CANCELLED)
            if state in ("running", "done", "failed"):
                raise Problem(409, f"the job is already {state}: only a queued job can be cancelled")
            return await fetch(job.job_id)

    @router.get("/dead-letters")
    async def get_dead_letters(
        request: Request, count: Annotated[int, Query(ge=1, le=1_000)] = 100
    ) -> list[DeadLetter]:
        """The jobs that failed for good, the newest first."""
        async with redis_deadline(request_context(request), "queue"):
            return [to_dead_letter(*letter) for letter in await queue.dead_letters(count)]

    @router.post("/dead-letters/{job_id}/retry", status_code=202)
    async def retry_dead_letter(job_id: UUID, request: Request, response: Response) -> Accepted:
        """Enqueue the job of a dead letter again, as if it were new."""
        async with redis_deadline(request_context(request), "queue"):
            if not await queue.retry_dead_letter(str(job_id)):
                raise Problem(404, f"job_id: {job_id} is not a dead letter: GET /dead-letters lists them")
        response.headers["Location"] = location(request, f"/jobs/{job_id}")
        return Accepted(job_id=str(job_id))

    return router


def has_ended(job: Job) -> bool:
    """Whether there is nothing left to wait for."""
    return job.ended


def _add_timings(job: Job, context: RequestContext) -> None:
    """How long it waited and was worked on, so that the playground can show its way."""
    if job.started_at and job.finished_at:
        context.timings["stream"] = (job.started_at - job.submitted_at).total_seconds()
        context.timings["predictor"] = (job.finished_at - job.started_at).total_seconds()
