"""The asynchronous half of the proxy: a job goes in for all members; each answer comes out as soon as it is there."""

from collections.abc import AsyncIterable, Awaitable, Callable
from math import inf
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Depends, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from redis.asyncio import Redis

from common.domain.digits import Picture as PictureBody
from common.jobs.redis_connection import within
from common.jobs.subscription import Watch
from common.prediction.payload import to_payload
from common.prediction.picture_decoder import IMAGES
from common.service.openapi import Operation
from common.service.problems import Problem
from common.service.request_context import Call, Reply
from common.service.service import Service
from common.service.tracing import current_trace
from common.store.image_store import StoredImage
from microservice_horizontal.jobs.schemas import Accepted, Job, to_job
from microservice_horizontal.jobs.stream import EVENTS, JobStream
from microservice_horizontal.settings import ProxySettings

MAX_WAIT_SECONDS = 20.0
WAIT = f"seconds, until it is closed; more than {MAX_WAIT_SECONDS:g} are {MAX_WAIT_SECONDS:g}"

SUBMIT = Operation(
    summary="Have all models read a digit, and answer later",
    json_body=PictureBody | StoredImage,
    binary_bodies=IMAGES,
    response=Accepted,
    status=202,
    problems=(400, 404, 405, 408, 413, 415, 422, 429, 500, 503, 504),
)


class JobIntake:
    """The endpoint: a picture in, a job's id out."""

    def __init__(
        self, jobs: JobStream, picture: Callable[[Call, bool], Awaitable[Any]], settings: ProxySettings
    ) -> None:
        self._jobs = jobs
        self._picture = picture
        self._settings = settings

    async def __call__(self, call: Call) -> Reply:
        """Keep, and only then accept."""
        payload = to_payload(await self._picture(call, True))
        job_id = call.log["job_id"] = str(uuid4())
        trace = current_trace.get()
        async with within(call, "stream"):
            seconds, most = self._settings.job_deadline_seconds, self._settings.max_open_jobs
            kept = await self._jobs.submit(job_id, payload, seconds, trace.traceparent if trace else "", most)
        if not kept:
            raise Problem(429, f"{most} jobs have not ended yet: try again later", {"Retry-After": "1"})
        headers = {"Location": f"/jobs/{job_id}", "Retry-After": "1"}
        return Reply(Accepted(job_id=job_id).model_dump_json().encode(), 202, headers=headers)


def add_job_endpoints(app: Service, redis: Redis, jobs: JobStream, settings: ProxySettings) -> None:
    """Add `GET /jobs/{job_id}` and `GET /jobs/{job_id}/events`."""
    watch = Watch(app, redis, EVENTS)
    members = settings.names

    async def find(job_id: UUID, request: Request) -> Job:
        call: Call = request.scope["call"]
        call.log["job_id"] = job_id
        async with within(call, "stream"):
            return await look(str(job_id))

    async def look(job_id: str) -> Job:
        if not (fields := await jobs.get(job_id)) or b"status" not in fields:
            raise Problem(404, f"job_id: there is no job {job_id}, or no more")
        return to_job(job_id, fields, members)

    @app.get("/jobs/{job_id}", responses={404: {"description": "see detail"}, 503: {"description": "see detail"}})
    async def get_job(
        job: Annotated[Job, Depends(find)],
        response: Response,
        wait: Annotated[float, Query(ge=0, allow_inf_nan=False, description=WAIT)] = 0,
    ) -> Job:
        """The answers so far; with `wait` once the job is closed, or after so many seconds as it is."""
        if wait and not is_closed(job):
            async for newer in watch.follow(job.job_id, look, is_closed, min(wait, MAX_WAIT_SECONDS)):
                job = newer
        if job.status == "running":
            response.headers["Retry-After"] = "1"
        return job

    @app.get("/jobs/{job_id}/events", response_class=EventSourceResponse)
    async def get_events(job: Annotated[Job, Depends(find)]) -> AsyncIterable[ServerSentEvent]:
        """Each model's answer the moment it is there (`prediction`), what began early (`early`), then the end
        (`aggregate`, or `failed`).
        """
        told: set[str] = set()
        async for newer in watch.follow(job.job_id, look, is_closed, inf):
            for name, digit in newer.predictions.items():
                if name not in told:
                    yield ServerSentEvent(event="prediction", data=digit)
            if newer.early and "early" not in told:
                yield ServerSentEvent(event="early", data=newer.early)
                told.add("early")
            told.update(newer.predictions)
            if newer.status != "running":
                yield ServerSentEvent(event="aggregate" if newer.status == "done" else "failed", data=newer)


def is_closed(job: Job) -> bool:
    """Whether there is nothing to wait for."""
    return job.status != "running"
