"""What a predictor does where each gets its own data: from the store it takes the scans that its model looks at.

A letter that is not there is a 404; a store that does not answer, a 503.
"""

from common import digits
from common.call import Call, Reply
from common.errors import Problem
from common.openapi import Operation
from common.predictor import Predictor
from common.protocol.body import write_reply
from common.protocol.schema import InferResponse
from microservice_vertical.answers import EXPECTED, StoredImage
from microservice_vertical.settings import PredictorSettings
from microservice_vertical.store import ImageStore

RETRIEVE = Operation(
    summary="Predict a letter that is in the store",
    description="As `/v2/models/NAME/infer` answers: `probabilities`, a row for each scan, as bytes after the JSON.",
    json_body=StoredImage,
    response=InferResponse,
    binary_responses=("application/octet-stream",),
    problems=(400, 404, 405, 408, 413, 422, 500, 503, 504),
)


class Retrieval:
    """The endpoint: an id in, probabilities out."""

    def __init__(self, predictor: Predictor, store: ImageStore, settings: PredictorSettings) -> None:
        self._predictor = predictor
        self._store = store
        self._scans = settings.scans

    async def __call__(self, call: Call) -> Reply:
        """Retrieve, predict, encode."""
        letter = StoredImage.named_in(await call.body())
        if letter is None:
            raise Problem(422, f"body: {EXPECTED}")
        features = await self._store.get(letter.image_id, self._scans, call)
        outputs = await self._predictor.predict({digits.INPUT: features}, len(features), call)
        return write_reply(self._predictor.model, {digits.OUTPUT: outputs[digits.OUTPUT]}, [True])
