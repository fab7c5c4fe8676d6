"""The predictor: quality, reader and specialist are this one service, each with another model.

It fails as a whole, but alone: each is deployed, updated and scaled separately.
"""

from fastapi import FastAPI

from common.inference.predictor import Predictor, load_model
from common.open_inference.rest import add_open_inference
from common.prediction.predict_endpoint import predict_router
from common.prediction.required_model import require_tensors
from common.service.service import Service
from common.store.image_store import ImageStore
from common.store.retrieve_endpoint import retrieve_router
from microservice_vertical.settings import PredictorSettings


def create_app(settings: PredictorSettings | None = None) -> FastAPI:
    """The predictor: `uvicorn microservice_vertical.predictor:create_app --factory`."""
    settings = settings or PredictorSettings.from_environment()
    model = load_model(settings)
    require_tensors(model)  # what they mean differs by stage: legibility, or a digit
    app = Service(f"microservice_vertical-{model.name}", settings)
    predictor = Predictor(model, settings, app.metrics)
    store = ImageStore(app, "microservice_vertical", settings)
    app.include_router(predict_router(predictor, settings))
    app.include_router(retrieve_router(predictor, store, settings.scans))
    add_open_inference(app, predictor)
    return app
