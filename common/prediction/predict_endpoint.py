"""`POST /predict`: an item of the domain in, a prediction out. Here HTTP, the domain and the model meet."""

from fastapi import APIRouter, Request, Response

from common import domain
from common.inference.predictor import Predictor
from common.prediction.domain_model import DomainModel
from common.prediction.input_decoder import InputDecoder
from common.prediction.output import InvalidNumber
from common.prediction.payload import count
from common.prediction.settings import PredictSettings
from common.service.body.reading import read_body
from common.service.lean_route import LeanRoute
from common.service.problems import Problem
from common.service.request_context import request_context
from common.service.responses import JSONBytes, problems, request_body


def predict_router(predictor: Predictor, settings: PredictSettings) -> APIRouter:
    """`POST /predict` for this model; if it does not fit the domain, each request is a 409."""
    router = APIRouter(route_class=LeanRoute)
    model = DomainModel(predictor.model)
    inputs = InputDecoder(settings, settings.max_queue_rows)

    @router.post(
        "/predict",
        summary=domain.TITLE,
        description=domain.DESCRIPTION,
        response_model=domain.Output | list[domain.Output],
        responses=problems(400, 405, 408, 409, 413, 415, 422, 500, 503, 504),
        openapi_extra=request_body(domain.Input | list[domain.Input], *domain.MEDIA_TYPES),
    )
    async def predict(request: Request) -> Response:
        if model.misfit:
            raise Problem(409, f"{model.misfit}: use the Open Inference Protocol under /v2")
        rows, many = await inputs.decode(request, await read_body(request))
        outputs = await predictor.predict(model.to_inputs(rows), count(rows), request_context(request))
        predictions = model.to_outputs(outputs)
        try:
            return JSONBytes(model.to_json(predictions if many else predictions[0]))
        except InvalidNumber as error:
            raise Problem(500, str(error)) from None

    return router
