"""`POST /predict`: a picture in, a digit out. Here, and only here, HTTP, the domain and the model meet."""

import numpy as np
from fastapi import APIRouter, Request, Response

from common.domain import digits
from common.inference.model import Model
from common.inference.predictor import Predictor
from common.prediction.picture_decoder import IMAGES, PictureDecoder
from common.prediction.settings import PredictSettings
from common.service.lean_route import LeanRoute
from common.service.problems import Problem
from common.service.request_body import read_body
from common.service.request_context import request_context
from common.service.responses import problems, request_body

DIGITS = [str(digit) for digit in range(10)]


def predict_router(predictor: Predictor, settings: PredictSettings) -> APIRouter:
    """`POST /predict` for this model; one that is no reader of digits is a 409 at each request."""
    router = APIRouter(route_class=LeanRoute)
    model = digits.ModelRef(name=predictor.model.name, version=predictor.model.version)
    model_input = predictor.model.inputs[0]
    probabilities = probabilities_output(predictor.model)
    pictures = PictureDecoder(settings.max_pixels, settings.max_batch_rows)

    @router.post(
        "/predict",
        summary="Read a digit",
        response_model=digits.Digit | list[digits.Digit],
        responses=problems(400, 405, 408, 409, 413, 415, 422, 500, 503, 504),
        openapi_extra=request_body(digits.Picture | list[digits.Picture], *IMAGES),
    )
    async def predict(request: Request) -> Response:
        """A picture gives a digit; a JSON list of pictures gives the list of their digits, in order."""
        if probabilities is None:
            raise Problem(409, f"the model {model.name} reads no digits: use the Open Inference Protocol under /v2")
        features, many = await pictures.decode(request, await read_body(request))
        features = features.astype(model_input.dtype, copy=False)
        outputs = await predictor.predict({model_input.name: features}, len(features), request_context(request))
        return Response(digits.to_json(outputs[probabilities], model, many), media_type="application/json")

    return router


def probabilities_output(model: Model) -> str | None:
    """The output with a probability for each digit, or None if the model is no reader of digits.

    A reader takes one input of 64 numbers a row and gives one output of 10; its labels, where it has any, are 0 to 9.
    """
    rows = model.inputs[0]
    if len(model.inputs) != 1 or rows.shape[1:] != (digits.FEATURES,) or rows.dtype.kind != "f" or not model.is_batched:
        return None
    tables = [spec for spec in model.outputs if spec.dtype.kind == "f" and spec.shape[1:] == (len(DIGITS),)]
    labels = [spec for spec in model.outputs if spec.dtype.kind in "iO" and len(spec.shape) == 1]
    sample = model.run({rows.name: np.zeros((1, digits.FEATURES), rows.dtype)})
    if len(tables) != 1 or any(str(sample[spec.name][0]) not in DIGITS for spec in labels):
        return None
    columns = [str(label) for label in tables[0].labels]
    return tables[0].name if columns in ([], DIGITS) else None
