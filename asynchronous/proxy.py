"""The proxy: it takes jobs in and gives results out, and never waits for a predictor.

A job is in Redis, whole, before its client hears 202; what cannot be kept is refused at once (429 where the queue is
full, 503 where Redis is away). This process holds nothing that matters: it may be killed, or run many times over.
"""

from hashlib import sha256
from pathlib import Path
from time import time
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, FastAPI, Query, Request, Response

from asynchronous.delivery.webhook_sender import Webhooks
from asynchronous.job_endpoints import job_router
from asynchronous.queue import Broker, OtherBody, QueueFull
from asynchronous.schemas import Accepted, IdempotencyKey, SubmitQuery
from asynchronous.settings import ProxySettings
from asynchronous.triggers import CacheTrigger, PubSubTrigger, Trigger
from common.domain.digits import Picture
from common.jobs.redis_connection import answers, connect, within
from common.playground.serve import add_playground
from common.prediction.payload import to_payload
from common.prediction.picture_decoder import IMAGES, PictureDecoder
from common.service.problems import Problem
from common.service.request_body import read_body
from common.service.request_context import media_type, request_context
from common.service.responses import problems, request_body
from common.service.service import Service
from common.service.tracing import current_trace

LATER = {"Retry-After": "1"}


def create_app(settings: ProxySettings | None = None) -> FastAPI:
    """The proxy: `uvicorn asynchronous.proxy:create_app --factory`."""
    settings = settings or ProxySettings.from_environment()
    app = Service("asynchronous", settings)
    redis = connect(app, settings.redis_url)
    broker = Broker(redis, settings.job_ttl_seconds, settings.result_ttl_seconds)
    triggers: dict[str, Trigger | None] = {
        "queue": None,
        "cache": CacheTrigger(redis, settings.job_ttl_seconds, settings.result_ttl_seconds),
        "pubsub": PubSubTrigger(redis, settings.job_ttl_seconds, settings.result_ttl_seconds),
    }
    app.include_router(submit_router(broker, triggers[settings.trigger], settings))
    app.include_router(job_router(app, redis, broker, settings))
    app.add_check(lambda: answers(redis))
    add_playground(app, Path(__file__).parent, "/jobs")
    return app


def submit_router(broker: Broker, trigger: Trigger | None, settings: ProxySettings) -> APIRouter:
    """`POST /jobs`: a picture in, a job's id out."""
    router = APIRouter()
    pictures = PictureDecoder(settings.max_pixels, max_pictures=1)
    webhooks = Webhooks(settings.webhook_secret, settings.webhook_allow_private)
    most = settings.max_queued_jobs

    @router.post(
        "/jobs",
        status_code=202,
        responses=problems(400, 405, 408, 413, 415, 422, 429, 500, 503, 504),
        openapi_extra=request_body(Picture, *IMAGES),
    )
    async def submit_job(
        request: Request,
        response: Response,
        query: Annotated[SubmitQuery, Query()],
        idempotency_key: IdempotencyKey = "",
    ) -> Accepted:
        """A picture becomes a job; its digit can be fetched later at `Location`. It is stored before it is accepted."""
        context = request_context(request)
        body = await read_body(request)
        picture = await pictures.decode_one(request, body)
        callback_url = str(query.callback_url or "")
        if callback_url:
            await webhooks.check(callback_url, context.deadline)
        trace = current_trace.get()
        fields: dict[str, str | bytes | float] = {
            "payload": to_payload(picture),
            "submitted_at": time(),
            "callback_url": callback_url,
            "traceparent": trace.traceparent if trace else "",
        }
        ordering_key = query.ordering_key or ""
        async with within(context, "queue"):
            if trigger:
                refuse_promises(idempotency_key, ordering_key, callback_url)
                accepted = await trigger.submit(str(uuid4()), fields, most)
            else:
                digest = fingerprint(request, body) if idempotency_key else ""
                accepted = await submit(fields, ordering_key, idempotency_key, digest)
        context.log["job_id"] = accepted.job_id
        response.headers.update({"Location": f"/jobs/{accepted.job_id}", **LATER})
        return accepted

    async def submit(fields: dict[str, str | bytes | float], ordering_key: str, key: str, digest: str) -> Accepted:
        try:
            job_id = await broker.submit(str(uuid4()), fields, most, ordering_key, key, digest)
        except QueueFull:
            raise Problem(429, f"{most} jobs have not ended yet: try again later", LATER) from None
        except OtherBody:
            raise Problem(422, f"Idempotency-Key: {key!r} came before with another body: use a key for each") from None
        return Accepted(job_id=job_id)

    return router


def fingerprint(request: Request, body: bytes) -> str:
    """What must be equal for a request to be a repeated one: media type, query and body."""
    return sha256(b"\0".join([media_type(request).encode(), request.scope["query_string"], body])).hexdigest()


def refuse_promises(*promises: str) -> None:
    """What only the queue keeps, the other triggers must not seem to."""
    if any(promises):
        raise Problem(422, "Idempotency-Key, ordering_key and callback_url need TRIGGER=queue: leave them out")
