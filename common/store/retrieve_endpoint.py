"""What a predictor does where each gets its own data: from the store it takes the scans that its model looks at.

A letter that is not there is a 404. A store that does not answer is a 424, by which the proxy knows that this service
itself is well.
"""

import numpy as np
from numpy.typing import NDArray

from common.domain import digits
from common.inference.predictor import Predictor
from common.open_inference.rest_body import write_reply
from common.open_inference.schema import InferResponse
from common.service.openapi import Operation
from common.service.problems import Problem
from common.service.request_context import Call, Reply
from common.store.image_store import EXPECTED, ImageStore, Scans, StoredImage

RETRIEVE = Operation(
    summary="Predict a letter that is in the store",
    description="As `/v2/models/NAME/infer` answers: `probabilities`, a row for each scan, as bytes after the JSON.",
    json_body=StoredImage,
    response=InferResponse,
    binary_responses=("application/octet-stream",),
    problems=(400, 404, 405, 408, 409, 413, 422, 424, 500, 503, 504),
)


class Retrieval:
    """The endpoint: an id in, probabilities out."""

    def __init__(self, predictor: Predictor, store: ImageStore, scans: Scans) -> None:
        self._predictor = predictor
        self._store = store
        self._scans: Scans = scans
        names = {spec.name for spec in (*predictor.model.inputs, *predictor.model.outputs)}
        self._fits = {digits.INPUT, digits.OUTPUT} <= names

    async def __call__(self, call: Call) -> Reply:
        """Retrieve, predict, encode."""
        if not self._fits:
            raise Problem(
                409, f"the model {self._predictor.model.name} does not turn {digits.INPUT} into {digits.OUTPUT}"
            )
        letter = StoredImage.named_in(await call.body())
        if letter is None:
            raise Problem(422, f"body: {EXPECTED}")
        features = await self._scans_of(letter, call)
        outputs = await self._predictor.predict({digits.INPUT: features}, len(features), call)
        return write_reply(self._predictor.model, {digits.OUTPUT: outputs[digits.OUTPUT]}, [True])

    async def _scans_of(self, letter: StoredImage, call: Call) -> NDArray[np.float32]:
        try:
            return await self._store.get(letter.image_id, self._scans, call)
        except Problem as problem:
            raise Problem(424, problem.detail) if problem.status_code == 503 else problem from None
