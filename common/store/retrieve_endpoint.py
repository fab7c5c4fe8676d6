"""`POST /retrieve`: a predictor that gets its own data takes from the store the scans that its model reads.

A letter that is not there is a 404. A store that does not answer is a 424, by which the proxy knows that this service
itself is well.
"""

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from common.domain import OUTPUT, ROW
from common.inference.predictor import Predictor
from common.open_inference.rest_body import write_response
from common.open_inference.schema import InferResponse
from common.prediction.domain_model import to_inputs
from common.service.lean_route import LeanRoute
from common.service.problems import Problem
from common.service.request_body import read_body
from common.service.request_context import RequestContext, request_context
from common.service.responses import BINARY, problems, request_body
from common.store.image_store import EXPECTED, ImageStore, Scans, StoredImage


def retrieve_router(predictor: Predictor, store: ImageStore, scans: Scans) -> APIRouter:
    """`POST /retrieve` for this model: an id in, probabilities out."""
    router = APIRouter(route_class=LeanRoute)
    model = predictor.model
    fits = {*(ROW.names or ()), OUTPUT} <= {spec.name for spec in (*model.inputs, *model.outputs)}

    @router.post(
        "/retrieve",
        summary="Predict a letter that is in the store",
        response_model=InferResponse,
        responses={
            200: {"content": {"application/octet-stream": BINARY}},
            **problems(400, 404, 405, 408, 409, 413, 422, 424, 500, 503, 504),
        },
        openapi_extra=request_body(StoredImage),
    )
    async def retrieve(request: Request) -> Response:
        """As `/v2/models/NAME/infer` answers: `probabilities`, a row for each scan, as bytes after the JSON."""
        if not fits:
            raise Problem(409, f"the model {model.name} does not turn {' and '.join(ROW.names or ())} into {OUTPUT}")
        letter = StoredImage.named_in(await read_body(request))
        if letter is None:
            raise Problem(422, f"body: {EXPECTED}")
        context = request_context(request)
        rows = await _scans_of(letter, context)
        outputs = await predictor.predict(to_inputs(model, rows), len(rows), context)
        return write_response(model, {OUTPUT: outputs[OUTPUT]}, [True])

    async def _scans_of(letter: StoredImage, context: RequestContext) -> NDArray[np.void]:
        try:
            return await store.get(letter.image_id, scans, context)
        except Problem as problem:
            raise Problem(424, problem.detail) if problem.status_code == 503 else problem from None

    return router
