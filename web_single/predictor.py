"""The one box of the diagram: interface, preprocessing and model in one server.

It fails as a whole: without its model it does not start. When it stops, it is not ready first, and requests in flight
are finished. Several replicas behind a load balancer survive the failure of one.
"""

from pathlib import Path

from fastapi import FastAPI

from common.inference.predictor import Predictor, load_model
from common.open_inference.grpc.service import add_open_inference_grpc
from common.open_inference.rest import add_open_inference
from common.playground.serve import add_playground
from common.prediction.predict_endpoint import predict_router
from common.service.service import Service
from web_single.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """The server: `uvicorn web_single.predictor:create_app --factory`."""
    settings = settings or Settings.from_environment()
    model = load_model(settings)
    app = Service("web_single", settings)
    predictor = Predictor(model, settings, app.metrics)
    app.include_router(predict_router(predictor, settings))
    add_open_inference(app, predictor)
    add_open_inference_grpc(app, predictor, settings)
    add_playground(app, Path(__file__).parent)
    return app
