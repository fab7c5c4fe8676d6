"""The proxy: accepts jobs and returns results, and never waits for a predictor.

A job is stored in Redis before the client gets its 202. A job that cannot be stored is rejected immediately: 429 if the
queue is full, 503 if Redis is away. This process holds no state: it may be killed, or run as several replicas.
"""

from pathlib import Path
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, FastAPI, Query, Request, Response

from asynchronous.delivery.webhook_sender import WebhookSender
from asynchronous.idempotency import fingerprint
from asynchronous.job_endpoints import job_router
from asynchronous.jobs import IdempotencyConflict, NewJob, QueueFull
from asynchronous.queue import EVENTS, JobQueue
from asynchronous.queue_monitor import QueueMonitor
from asynchronous.schemas import Accepted, IdempotencyKey, SubmitQuery
from asynchronous.settings import ProxySettings
from asynchronous.triggers.cache import CacheTrigger
from asynchronous.triggers.pubsub import PubSubTrigger
from asynchronous.triggers.unqueued_jobs import Trigger
from common import domain
from common.jobs.redis_check import RedisCheck
from common.jobs.redis_connection import REDIS_UNAVAILABLE, connect, redis_deadline
from common.playground.serve import add_playground
from common.playground.start_choice import start_choice
from common.prediction.input_decoder import InputDecoder
from common.prediction.payload import to_payload
from common.service.background import add_background_loop
from common.service.body.reading import read_body
from common.service.problems import Problem
from common.service.request_context import request_context
from common.service.responses import problems, request_body
from common.service.root_path import location
from common.service.service import Service
from common.telemetry.tracing import current_trace

LATER = {"Retry-After": "1"}


def create_app(settings: ProxySettings | None = None) -> FastAPI:
    """The proxy: `uvicorn asynchronous.proxy:create_app --factory`."""
    settings = settings or ProxySettings.from_environment()
    app = Service("asynchronous", settings)
    redis = connect(app, settings.redis_url)
    ttls = settings.job_ttl_seconds, settings.result_ttl_seconds
    queue = JobQueue(redis, *ttls)
    triggers: dict[str, Trigger | None] = {
        "queue": None,
        "cache": CacheTrigger(redis, *ttls),
        "pubsub": PubSubTrigger(redis, *ttls),
    }
    monitor = QueueMonitor(redis, app.metrics.registry)
    add_background_loop(app, monitor.tick, "queue monitor", unavailable=REDIS_UNAVAILABLE)
    app.include_router(submit_router(queue, triggers[settings.trigger], monitor, settings))
    app.include_router(job_router(app, redis, queue, monitor, settings))
    RedisCheck(app, redis, "asynchronous", EVENTS)
    add_playground(app, Path(__file__).parent, "/jobs", [start_choice(settings, "trigger")])
    return app


def submit_router(
    queue: JobQueue, trigger: Trigger | None, monitor: QueueMonitor, settings: ProxySettings
) -> APIRouter:
    """`POST /jobs`: an item of the domain in, a job's id out."""
    router = APIRouter()
    inputs = InputDecoder(settings)
    webhooks = WebhookSender(settings.webhook_secret, settings.webhook_allow_private)

    @router.post(
        "/jobs",
        status_code=202,
        responses=problems(400, 405, 408, 413, 415, 422, 429, 500, 503, 504),
        openapi_extra=request_body(domain.Input, *domain.MEDIA_TYPES),
    )
    async def submit_job(
        request: Request,
        response: Response,
        query: Annotated[SubmitQuery, Query()],
        idempotency_key: IdempotencyKey = "",
    ) -> Accepted:
        """An item becomes a job, stored before it is accepted; its prediction can be fetched later at `Location`."""
        context = request_context(request)
        if settings.require_predictor and not monitor.predictors_alive:
            raise Problem(503, "no predictor is running: try again later", LATER)
        body = await read_body(request)
        rows = await inputs.decode_one(request, body)
        callback_url = str(query.callback_url or "")
        if callback_url:
            await webhooks.check(callback_url, context.deadline)
        trace = current_trace.get()
        job = NewJob(
            to_payload(rows),
            ordering_key=query.ordering_key or "",
            idempotency_key=idempotency_key,
            digest=fingerprint(request, body) if idempotency_key else "",
            callback_url=callback_url,
            traceparent=trace.traceparent if trace else "",
        )
        async with redis_deadline(context, "queue"):
            if trigger:
                accepted = await trigger.submit(str(uuid4()), job, settings.max_queued_jobs)
            else:
                accepted = await submit(job)
        context.log["job_id"] = accepted.job_id
        response.headers.update({"Location": location(request, f"/jobs/{accepted.job_id}"), **LATER})
        return accepted

    async def submit(job: NewJob) -> Accepted:
        try:
            job_id = await queue.submit(str(uuid4()), job, settings.max_queued_jobs)
        except QueueFull:
            raise Problem(
                429, f"{settings.max_queued_jobs} jobs are open (MAX_QUEUED_JOBS): try again later", LATER
            ) from None
        except IdempotencyConflict:
            key = job.idempotency_key
            raise Problem(
                422, f"Idempotency-Key: {key!r} came before with another request: use a key for each"
            ) from None
        return Accepted(job_id=job_id)

    return router
