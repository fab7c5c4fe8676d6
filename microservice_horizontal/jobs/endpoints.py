"""Jobs over HTTP: submit a job for all members, and get each answer as soon as it is there."""

from collections.abc import AsyncIterable, Awaitable, Callable
from math import inf
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from redis.asyncio import Redis

from common import domain
from common.jobs.redis_connection import redis_deadline
from common.jobs.subscription import JobSubscription
from common.prediction.payload import to_payload
from common.service.problems import Problem
from common.service.request_context import cancel_on_disconnect, request_context
from common.service.responses import problems, request_body
from common.service.root_path import location
from common.service.service import Service
from common.store.image_store import StoredImage
from common.telemetry.tracing import current_trace
from microservice_horizontal.jobs.schemas import Accepted, Job, to_job
from microservice_horizontal.jobs.stream import EVENTS, JobStream
from microservice_horizontal.settings import ProxySettings

MAX_WAIT_SECONDS = 20.0
TOO_MANY = "too many clients are waiting: fetch the job later"
NOT_FOUND = "it never existed, has expired, or Redis has lost its data"
WAIT = f"seconds to wait until the job is closed, at most {MAX_WAIT_SECONDS:g}"


def job_router(
    app: Service,
    redis: Redis,
    jobs: JobStream,
    find_picture: Callable[[Request, bool], Awaitable[Any]],
    settings: ProxySettings,
) -> APIRouter:
    """`POST /jobs`, `GET /jobs/{job_id}` and `GET /jobs/{job_id}/events`."""
    router = APIRouter()
    subscription = JobSubscription(app, redis, EVENTS, settings.max_waiting_requests)
    members = settings.names

    async def find(job_id: UUID, request: Request) -> Job:
        context = request_context(request)
        context.log["job_id"] = job_id
        async with redis_deadline(context, "stream"):
            return await fetch(str(job_id))

    async def fetch(job_id: str) -> Job:
        if not (fields := await jobs.get(job_id)) or b"status" not in fields:
            raise Problem(404, f"job_id: there is no job {job_id}: {NOT_FOUND}")
        return to_job(job_id, fields, members)

    async def find_to_follow(job: Annotated[Job, Depends(find)]) -> Job:
        if subscription.is_full and not is_closed(job):
            raise Problem(503, TOO_MANY, {"Retry-After": "1"})
        return job

    async def wait_for(job: Job, seconds: float) -> Job:
        async for newer in subscription.states(job.job_id, fetch, is_closed, seconds):
            job = newer
        return job

    @router.post(
        "/jobs",
        status_code=202,
        responses=problems(400, 404, 405, 408, 413, 415, 422, 429, 500, 503, 504),
        openapi_extra=request_body(domain.Input | StoredImage, *domain.MEDIA_TYPES),
    )
    async def submit_job(request: Request, response: Response) -> Accepted:
        """All models read a digit; poll `Location` for the answers. The job is stored before this responds."""
        payload = to_payload(await find_picture(request, True))
        context, trace = request_context(request), current_trace.get()
        job_id = context.log["job_id"] = str(uuid4())
        async with redis_deadline(context, "stream"):
            traceparent, limit = trace.traceparent if trace else "", settings.max_open_jobs
            stored = await jobs.submit(job_id, payload, settings.job_deadline_seconds, traceparent, limit)
        if not stored:
            raise Problem(429, f"{limit} jobs have not ended yet: try again later", {"Retry-After": "1"})
        response.headers.update({"Location": location(request, f"/jobs/{job_id}"), "Retry-After": "1"})
        return Accepted(job_id=job_id)

    @router.get("/jobs/{job_id}", responses=problems(404, 422, 503))
    async def get_job(
        job: Annotated[Job, Depends(find)],
        request: Request,
        response: Response,
        wait: Annotated[float, Query(ge=0, allow_inf_nan=False, description=WAIT)] = 0,
    ) -> Job:
        """The answers so far. With `wait`, the response comes when the job is closed, or after so many seconds.

        If MAX_WAITING_REQUESTS clients wait already, this one gets it at once.
        """
        if wait and not is_closed(job) and not subscription.is_full:
            job = await cancel_on_disconnect(request, wait_for(job, min(wait, MAX_WAIT_SECONDS)))
        if job.status == "running":
            response.headers["Retry-After"] = "1"
        return job

    @router.get("/jobs/{job_id}/events", response_class=EventSourceResponse, responses=problems(404, 422, 503))
    async def get_events(job: Annotated[Job, Depends(find_to_follow)]) -> AsyncIterable[ServerSentEvent]:
        """Each model's answer as soon as it is there (`prediction`), the next action (`early`), and the end of the job
        (`aggregate`, or `failed`; `gone` if it exists no more).
        """
        sent: set[str] = set()
        try:
            async for newer in subscription.states(job.job_id, fetch, is_closed, inf):
                for name, digit in newer.predictions.items():
                    if name not in sent:
                        yield ServerSentEvent(event="prediction", data=digit)
                if newer.early and "early" not in sent:
                    yield ServerSentEvent(event="early", data=newer.early)
                    sent.add("early")
                sent.update(newer.predictions)
                if newer.status != "running":
                    yield ServerSentEvent(event="aggregate" if newer.status == "done" else "failed", data=newer)
        except Problem as problem:
            yield ServerSentEvent(event="gone", data={"detail": problem.detail})

    return router


def is_closed(job: Job) -> bool:
    """Whether the job has ended."""
    return job.status != "running"
