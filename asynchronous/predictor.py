"""The predictor: a service that holds the model, and consumes the queue beside its endpoints.

It may end at any moment: when its leases have expired, another predictor claims its jobs.
"""

from fastapi import FastAPI

from asynchronous.queue import EVENTS, JobQueue
from asynchronous.settings import PredictorSettings
from asynchronous.triggers.cache import CacheTrigger
from asynchronous.triggers.pubsub import PubSubTrigger
from asynchronous.worker import Worker
from common.inference.predictor import Predictor, load_model
from common.jobs.job_predictor import JobPredictor
from common.jobs.redis_check import RedisCheck
from common.jobs.redis_connection import REDIS_UNAVAILABLE, connect
from common.open_inference.rest import add_open_inference
from common.prediction.predict_endpoint import predict_router
from common.prediction.required_model import require_domain
from common.service.background import add_background_loop
from common.service.service import Service


def create_app(
    settings: PredictorSettings | None = None,
    *,
    job_queue: type[JobQueue] = JobQueue,
    job_predictor: type[JobPredictor] = JobPredictor,
) -> FastAPI:
    """The predictor: `uvicorn asynchronous.predictor:create_app --factory`. Tests pass other collaborators."""
    settings = settings or PredictorSettings.from_environment()
    model = load_model(settings)
    require_domain(model)
    app = Service("asynchronous-predictor", settings)
    predictor = Predictor(model, settings, app.metrics)
    app.include_router(predict_router(predictor, settings))
    add_open_inference(app, predictor)

    redis = connect(app, settings.redis_url)
    RedisCheck(app, redis, "asynchronous", EVENTS)
    ttls = settings.job_ttl_seconds, settings.result_ttl_seconds
    jobs = job_predictor(predictor)
    if settings.trigger == "queue":
        worker = Worker(job_queue(redis, *ttls), jobs, settings, app.metrics.registry)
        add_background_loop(app, worker.tick, "jobs", unavailable=REDIS_UNAVAILABLE)
    elif settings.trigger == "cache":
        CacheTrigger(redis, *ttls).consume(app, jobs.predict, settings)
    else:
        PubSubTrigger(redis, *ttls).consume(app, jobs.predict, settings)
    return app
