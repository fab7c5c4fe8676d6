"""`POST /retrieve`: the predictor loads the scans that its model reads from the store itself.

A letter that is not stored is a 404. A store that does not answer is a 424, so the proxy knows that this service itself
is healthy.
"""

from fastapi import APIRouter, Request, Response

from common import domain
from common.inference.predictor import Predictor
from common.inference.tensor_spec import Tensors
from common.open_inference.response_schema import InferResponse
from common.open_inference.rest_body import write_response
from common.prediction.payload import count
from common.service.body.reading import read_body
from common.service.lean_route import LeanRoute
from common.service.problems import Problem
from common.service.request_context import RequestContext, request_context
from common.service.responses import BINARY, problems, request_body
from common.store.image_store import EXPECTED, ImageStore, Scans, StoredImage


def retrieve_router(predictor: Predictor, store: ImageStore, scans: Scans) -> APIRouter:
    """`POST /retrieve` for this model, whose names must be the domain's: an id in, outputs out."""
    router = APIRouter(route_class=LeanRoute)
    model = predictor.model

    @router.post(
        "/retrieve",
        summary="Predict a letter that is in the store",
        response_model=InferResponse,
        responses={
            200: {"content": {"application/octet-stream": BINARY}},
            **problems(400, 404, 405, 408, 413, 422, 424, 500, 503, 504),
        },
        openapi_extra=request_body(StoredImage),
    )
    async def retrieve(request: Request) -> Response:
        """As `/v2/models/NAME/infer` answers: `probabilities`, a row for each scan, as bytes after the JSON."""
        letter = StoredImage.from_body(await read_body(request))
        if letter is None:
            raise Problem(422, f"body: {EXPECTED}")
        context = request_context(request)
        rows = await _scans_of(letter, context)
        outputs = await predictor.predict(rows, count(rows), context)
        wanted = {name: outputs[name] for name in domain.OUTPUTS}
        return write_response(model, wanted, [True] * len(wanted))

    async def _scans_of(letter: StoredImage, context: RequestContext) -> Tensors:
        try:
            return await store.get(letter.image_id, scans, context)
        except Problem as problem:
            raise Problem(424, problem.detail) if problem.status_code == 503 else problem from None

    return router
