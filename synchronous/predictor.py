"""The predictor: a service that holds the model, called over REST or gRPC.

It fails as a whole: without its model it does not start, and the flow must do without a reading.
"""

from fastapi import FastAPI

from common.inference.predictor import Predictor, load_model
from common.open_inference.grpc.service import add_open_inference_grpc
from common.open_inference.rest import add_open_inference
from common.prediction.predict_endpoint import predict_router
from common.prediction.required_model import require_domain
from common.service.service import Service
from synchronous.settings import PredictorSettings


def create_app(settings: PredictorSettings | None = None) -> FastAPI:
    """The predictor: `uvicorn synchronous.predictor:create_app --factory`."""
    settings = settings or PredictorSettings.from_environment()
    model = load_model(settings)
    require_domain(model, tensors=True)
    app = Service("synchronous-predictor", settings)
    predictor = Predictor(model, settings, app.metrics)
    app.include_router(predict_router(predictor, settings))
    add_open_inference(app, predictor)
    add_open_inference_grpc(app, predictor, settings)
    return app
