"""The predictor: each member is this one service with another model. It is called directly, and it also works on jobs.

It fails alone: a member that is down costs the others nothing. Another process of the same member takes over its jobs.
"""

from fastapi import FastAPI

from common.inference.predictor import Predictor, load_model
from common.jobs.job_predictor import JobPredictor
from common.jobs.redis_connection import REDIS_UNAVAILABLE, connect
from common.open_inference.rest import add_open_inference
from common.prediction.predict_endpoint import predict_router
from common.prediction.required_model import require_domain
from common.service.background import add_background_loop
from common.service.service import Service
from common.store.image_store import ImageStore
from common.store.retrieve_endpoint import retrieve_router
from microservice_horizontal.jobs.stream import JobStream
from microservice_horizontal.jobs.worker import Worker
from microservice_horizontal.settings import PredictorSettings


def create_app(settings: PredictorSettings | None = None) -> FastAPI:
    """The predictor: `uvicorn microservice_horizontal.predictor:create_app --factory`."""
    settings = settings or PredictorSettings.from_environment()
    model = load_model(settings)
    require_domain(model, tensors=True)
    app = Service(f"microservice_horizontal-{model.name}", settings)
    predictor = Predictor(model, settings, app.metrics)
    store = ImageStore(app, "microservice_horizontal", settings)
    app.include_router(predict_router(predictor, settings))
    app.include_router(retrieve_router(predictor, store, "first"))
    add_open_inference(app, predictor)

    jobs = JobStream(connect(app, settings.redis_url), settings.job_ttl_seconds)
    worker = Worker(model.name, JobPredictor(predictor), jobs, settings)
    add_background_loop(app, worker.tick, "jobs", unavailable=REDIS_UNAVAILABLE)
    return app
