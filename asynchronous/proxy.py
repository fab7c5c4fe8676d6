"""The proxy: it takes jobs in and gives results out, and never waits for a predictor.

A job is in Redis, whole, before its client hears 202; what cannot be kept is refused at once (429 where the queue is
full, 503 where Redis is away). This process holds nothing that matters: it may be killed, or run many times over.
"""

from hashlib import sha256
from pathlib import Path
from time import time
from uuid import uuid4

from fastapi import FastAPI

from asynchronous.delivery.webhook_sender import Webhooks
from asynchronous.job_endpoints import add_retrieval
from asynchronous.queue import Broker, OtherBody, QueueFull
from asynchronous.schemas import SUBMIT, Accepted, SubmitQuery
from asynchronous.settings import ProxySettings
from asynchronous.triggers import CacheTrigger, PubSubTrigger, Trigger
from common.jobs.redis_connection import answers, connect, within
from common.playground.serve import add_playground
from common.prediction.payload import to_payload
from common.prediction.picture_decoder import PictureDecoder
from common.service.problems import Problem
from common.service.request_context import Call, Reply
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
    app.add_endpoint("POST", "/jobs", Intake(broker, triggers[settings.trigger], settings), SUBMIT)
    add_retrieval(app, redis, broker, settings)
    app.add_check(lambda: answers(redis))
    add_playground(app, Path(__file__).parent, "/jobs")
    return app


class Intake:
    """The endpoint: a picture in, a job's id out."""

    def __init__(self, broker: Broker, trigger: Trigger | None, settings: ProxySettings) -> None:
        self._broker = broker
        self._trigger = trigger
        self._most = settings.max_queued_jobs
        self._pictures = PictureDecoder(settings.max_pixels, max_pictures=1)
        self._webhooks = Webhooks(settings.webhook_secret, settings.webhook_allow_private)

    async def __call__(self, call: Call) -> Reply:
        """Decode, keep, and only then accept."""
        query, key = call.query(SubmitQuery), idempotency_key(call)
        body = await call.body()
        picture = await self._pictures.decode_one(call, body)
        callback_url = str(query.callback_url or "")
        if callback_url:
            await self._webhooks.check(callback_url, call.deadline)
        fields: dict[str, str | bytes | float] = {
            "payload": to_payload(picture),
            "submitted_at": time(),
            "callback_url": callback_url,
            "traceparent": trace.traceparent if (trace := current_trace.get()) else "",
        }
        ordering_key = query.ordering_key or ""
        digest = sha256(b"\0".join([call.media_type.encode(), call.query_string, body])).hexdigest() if key else ""
        async with within(call, "queue"):
            if self._trigger:
                refuse_promises(key, ordering_key, callback_url)
                accepted = await self._trigger.submit(str(uuid4()), fields, self._most)
            else:
                accepted = await self._submit(fields, ordering_key, key, digest)
        call.log["job_id"] = accepted.job_id
        headers = {"Location": f"/jobs/{accepted.job_id}", **LATER}
        return Reply(accepted.model_dump_json().encode(), 202, headers=headers)

    async def _submit(
        self, fields: dict[str, str | bytes | float], ordering_key: str, key: str, digest: str
    ) -> Accepted:
        try:
            job_id = await self._broker.submit(str(uuid4()), fields, self._most, ordering_key, key, digest)
        except QueueFull:
            raise Problem(429, f"{self._most} jobs have not ended yet: try again later", LATER) from None
        except OtherBody:
            raise Problem(422, f"Idempotency-Key: {key!r} came before with another body: use a key for each") from None
        return Accepted(job_id=job_id)


def idempotency_key(call: Call) -> str:
    """The header's value, or nothing; raises `Problem` 422."""
    key = call.headers.get(b"idempotency-key", b"").decode("latin-1").strip()
    if not (key.isascii() and key.isprintable() and len(key) <= 255):
        raise Problem(422, f"Idempotency-Key: expected up to 255 visible ASCII characters, got {key!r:.80}")
    return key


def refuse_promises(*promises: str) -> None:
    """What only the queue keeps, the other triggers must not seem to."""
    if any(promises):
        raise Problem(422, "Idempotency-Key, ordering_key and callback_url need TRIGGER=queue: leave them out")
