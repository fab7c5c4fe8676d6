"""`POST /predict`: a picture in, a digit out. Here, and only here, HTTP, the domain and the model meet."""

import numpy as np

from common.domain import digits
from common.inference.model import Model
from common.inference.predictor import Predictor
from common.prediction.picture_decoder import IMAGES, PictureDecoder
from common.prediction.settings import PredictSettings
from common.service.openapi import Operation
from common.service.problems import Problem
from common.service.request_context import Call, Reply

DIGITS = [str(digit) for digit in range(10)]

READ = Operation(
    summary="Read a digit",
    description="A picture gives a digit; a JSON list of pictures gives the list of their digits, in order.",
    json_body=digits.Picture | list[digits.Picture],
    binary_bodies=IMAGES,
    response=digits.Digit | list[digits.Digit],
    problems=(400, 405, 408, 409, 413, 415, 422, 500, 503, 504),
)


class Reader:
    """The endpoint; a model that is no reader of digits is refused at each call (409)."""

    def __init__(self, predictor: Predictor, settings: PredictSettings) -> None:
        self._predictor = predictor
        self._model = digits.ModelRef(name=predictor.model.name, version=predictor.model.version)
        self._probabilities = probabilities_output(predictor.model)
        self._input = predictor.model.inputs[0]
        self._pictures = PictureDecoder(settings.max_pixels, settings.max_batch_rows)

    async def __call__(self, call: Call) -> Reply:
        """Decode, predict, encode."""
        if self._probabilities is None:
            raise Problem(
                409, f"the model {self._model.name} reads no digits: use the Open Inference Protocol under /v2"
            )
        features, many = await self._pictures.decode(call, await call.body())
        features = features.astype(self._input.dtype, copy=False)
        outputs = await self._predictor.predict({self._input.name: features}, len(features), call)
        return Reply(digits.to_json(outputs[self._probabilities], self._model, many))


def probabilities_output(model: Model) -> str | None:
    """The output with a probability for each digit, or None if the model is no reader of digits.

    A reader takes one input of 64 numbers a row and gives one output of 10; its labels, where it has any, are 0 to 9.
    """
    rows = model.inputs[0]
    if len(model.inputs) != 1 or rows.shape[1:] != (digits.FEATURES,) or rows.dtype.kind != "f" or not model.batch:
        return None
    tables = [spec for spec in model.outputs if spec.dtype.kind == "f" and spec.shape[1:] == (len(DIGITS),)]
    labels = [spec for spec in model.outputs if spec.dtype.kind in "iO" and len(spec.shape) == 1]
    sample = model.run({rows.name: np.zeros((1, digits.FEATURES), rows.dtype)})
    if len(tables) != 1 or any(str(sample[spec.name][0]) not in DIGITS for spec in labels):
        return None
    columns = [str(label) for label in tables[0].labels]
    return tables[0].name if columns in ([], DIGITS) else None
