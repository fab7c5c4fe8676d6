"""The proxy: the business flow, where the prediction blocks the next step: register a letter, read it, choose a bin.

If the predictor is slow, hung, down or answers nonsense, the letter is still answered by the deadline, marked as
`degraded`. With FALLBACK=false the answer is a 502, 503 or 504.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.requests import ClientDisconnect

from common import domain
from common.backends.backend import Backend
from common.backends.classifier import Classifier
from common.backends.classifier_grpc import GrpcClassifier
from common.backends.classifier_rest import RestClassifier
from common.backends.errors import BackendError
from common.backends.http_client import HttpClient
from common.backends.metrics import BackendMetrics
from common.inference.tensor_spec import Tensors
from common.playground.serve import add_playground
from common.prediction.input_decoder import InputDecoder
from common.prediction.output import InvalidNumber, to_prediction
from common.service.body.reading import read_body
from common.service.lean_route import LeanRoute
from common.service.problems import Problem
from common.service.request_context import cancel_on_disconnect, request_context
from common.service.responses import TEXT, json_response, problems, request_body
from common.service.service import Service, until_first_success
from synchronous.schemas import Letter, Reading, Registration, Step, add_letter_counter, choose_bin
from synchronous.settings import ProxySettings

EVENT_STREAM = "text/event-stream"
UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""So that nginx passes on each event at once."""


def create_app(settings: ProxySettings | None = None) -> FastAPI:
    """The proxy: `uvicorn synchronous.proxy:create_app --factory`."""
    settings = settings or ProxySettings.from_environment()
    app = Service("synchronous", settings)
    reader = connect(app, settings)
    app.include_router(letters_router(LetterFlow(app, reader, settings), settings))
    app.add_check(until_first_success(reader.is_ready) if settings.fallback else reader.is_ready)
    add_playground(app, Path(__file__).parent, "/letters")
    return app


def connect(app: Service, settings: ProxySettings) -> Classifier:
    """The predictor at PREDICTOR_URL; the flow is the same for REST and gRPC."""
    backend = Backend("predictor", settings, BackendMetrics(app.metrics.registry))
    url, outputs, classes = settings.predictor_url, domain.OUTPUTS, len(domain.LABELS)
    if url.startswith("grpc://"):
        return GrpcClassifier(backend, app, url, outputs=outputs, classes=classes)
    return RestClassifier(backend, HttpClient(app), url, outputs=outputs, classes=classes)


def letters_router(flow: "LetterFlow", settings: ProxySettings) -> APIRouter:
    """`POST /letters`: an item of the domain in, a letter with its bin out."""
    router = APIRouter(route_class=LeanRoute)
    inputs = InputDecoder(settings)

    @router.post(
        "/letters",
        summary="Sort a letter",
        response_model=Letter,
        responses={
            200: {"content": {EVENT_STREAM: TEXT}},
            **problems(400, 405, 408, 413, 415, 422, 500, 502, 503, 504),
        },
        openapi_extra=request_body(domain.Input, *domain.MEDIA_TYPES),
    )
    async def sort_letter(request: Request) -> Response:
        """An item of the domain, read off the letter, gives its bin.

        With `Accept: text/event-stream` each step is an event as soon as it is done: `registered`, `read`, `sorted`;
        or `problem`, which ends it.
        """
        rows = await inputs.decode_one(request, await read_body(request))
        steps = flow.sort(rows, request)
        if EVENT_STREAM in request.headers.get("accept", ""):
            return StreamingResponse(_events(steps), headers=UNBUFFERED, media_type=EVENT_STREAM)
        async for step in steps:
            letter = step
        return json_response(letter)

    return router


class LetterFlow:
    """The steps of the flow, in order."""

    def __init__(self, app: Service, reader: Classifier, settings: ProxySettings) -> None:
        self._reader = reader
        self._fallback = settings.fallback
        self._count_letter = add_letter_counter(app.metrics.registry)

    async def sort(self, rows: Tensors, request: Request) -> AsyncIterator[Step]:
        """The second step waits for the predictor, and the third depends on what it answers."""
        log = request_context(request).log
        letter_id = log["letter_id"] = str(uuid4())
        yield Registration(letter_id=letter_id)

        prediction = await self._read(rows, request)
        yield Reading(prediction=prediction)

        chosen = log["bin"] = choose_bin(prediction)
        self._count_letter(chosen)
        yield Letter(letter_id=letter_id, bin=chosen, degraded=prediction is None, prediction=prediction)

    async def _read(self, rows: Tensors, request: Request) -> domain.Output | None:
        """The prediction; None if there is no reading and FALLBACK is on. Raises `Problem` if it is off."""
        context = request_context(request)
        try:
            reading = await cancel_on_disconnect(request, self._reader.classify(rows, context))
            return to_prediction(reading.outputs, reading.model, reading.version)
        except BackendError as error:
            if not self._fallback:
                raise error.problem() from None
            reason: str = error.reason
        except InvalidNumber as error:
            if not self._fallback:
                raise Problem(500, str(error)) from None
            reason = "invalid number"
        context.timings[f'fallback;desc="{reason}"'] = 0.0  # takes no time, but says why
        return None


async def _events(steps: AsyncIterator[Step]) -> AsyncIterator[bytes]:
    """Each step as a server-sent event; the last is `sorted`, or `problem`."""
    try:
        async for step in steps:
            yield format_sse_event(event=step.event, data_str=step.model_dump_json())
    except Problem as problem:
        yield format_sse_event(event="problem", data_str=problem.document().decode())
    except ClientDisconnect:
        return
