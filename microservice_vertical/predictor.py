"""The predictor: quality, reader and specialist are this one service, each with another model.

It fails as a whole, but alone: each is deployed, updated and scaled separately.
"""

from fastapi import FastAPI

from common.inference.predictor import Predictor, load_model
from common.open_inference.rest import add_open_inference
from common.prediction.predict_endpoint import predict_router
from common.prediction.required_model import require_classes, require_domain
from common.service.service import Service
from common.store.image_store import ImageStore
from common.store.retrieve_endpoint import retrieve_router
from microservice_vertical.results import LEGIBILITY_CLASSES
from microservice_vertical.settings import PredictorSettings

QUALITY = "quality"
"""The name of the model whose probabilities mean legibility; those of any other mean a label."""


def create_app(settings: PredictorSettings | None = None) -> FastAPI:
    """The predictor: `uvicorn microservice_vertical.predictor:create_app --factory`."""
    settings = settings or PredictorSettings.from_environment()
    model = load_model(settings)
    if model.name == QUALITY:
        require_classes(model, LEGIBILITY_CLASSES)
    else:
        require_domain(model, tensors=True)
    app = Service(f"microservice_vertical-{model.name}", settings)
    predictor = Predictor(model, settings, app.metrics)
    store = ImageStore(app, "microservice_vertical", settings)
    app.include_router(predict_router(predictor, settings))
    app.include_router(retrieve_router(predictor, store, settings.scans))
    add_open_inference(app, predictor)
    return app
