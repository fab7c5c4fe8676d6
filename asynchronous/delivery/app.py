"""The delivery: brings results to other places than the client, a database and the webhooks that clients asked for.

It may be killed or stopped: what ends in the meantime waits in the outbox for as long as results are kept. A receiver
may get a webhook twice (with the same `webhook-id`) and never a wrong one; the database has each job once.
"""

import logging

from fastapi import FastAPI

from asynchronous.delivery.outbox import Outbox
from asynchronous.delivery.results import ResultDatabase
from asynchronous.delivery.sender import ResultSender, WebhookDelivery
from asynchronous.delivery.webhook_sender import WebhookSender
from asynchronous.queue import EVENTS
from asynchronous.settings import DeliverySettings
from common.jobs.redis_check import RedisCheck
from common.jobs.redis_connection import REDIS_UNAVAILABLE, connect
from common.service.background import add_background_loop
from common.service.service import Service

logger = logging.getLogger(__name__)


def create_app(settings: DeliverySettings | None = None) -> FastAPI:
    """The delivery: `uvicorn asynchronous.delivery:create_app --factory`."""
    settings = settings or DeliverySettings.from_environment()
    app = Service("asynchronous-delivery", settings)
    redis = connect(app, settings.redis_url)
    RedisCheck(app, redis, "asynchronous", EVENTS)
    outbox, registry = Outbox(redis, settings.result_ttl_seconds), app.metrics.registry

    results = ResultSender(outbox, ResultDatabase(settings.results_database), registry)
    app.add_lifespan(results.keep_open)
    add_background_loop(app, results.tick, "results", unavailable=REDIS_UNAVAILABLE)

    if settings.webhook_secret:
        sender = WebhookSender(settings.webhook_secret, settings.webhook_allow_private)
        webhooks = WebhookDelivery(outbox, sender, settings, registry)
        app.add_lifespan(webhooks.keep_open)
        add_background_loop(app, webhooks.tick, "webhooks", unavailable=REDIS_UNAVAILABLE)
    else:
        logger.warning("no WEBHOOK_SECRET is set: webhooks are kept, and results go to the database only")
    return app
