"""The predictor: a service that holds the model, asked over REST or gRPC.

It fails as a whole: without its model it does not start, and a flow that asks it must do without.
"""

from fastapi import FastAPI

from common.open_inference import add_open_inference
from common.open_inference_grpc import add_open_inference_grpc
from common.predictor import Predictor, load_model
from common.reader import READ, Reader
from common.service import Service
from synchronous.settings import PredictorSettings


def create_app(settings: PredictorSettings | None = None) -> FastAPI:
    """The predictor: `uvicorn synchronous.predictor:create_app --factory`."""
    settings = settings or PredictorSettings.from_environment()
    model = load_model(settings)
    app = Service("synchronous-predictor", settings)
    predictor = Predictor(model, settings, app.metrics)
    app.add_endpoint("POST", "/predict", Reader(predictor, settings), READ)
    add_open_inference(app, predictor)
    add_open_inference_grpc(app, predictor, settings)
    return app
