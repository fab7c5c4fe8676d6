"""The proxy: it gets the scans and asks one service after another, each depending on the answer before it.

Is it legible? Then the reader reads it. Is the reader not confident? Then the specialist reads every scan. One deadline
holds over all. A hard step that fails is the request's failure, with the status that fits; without a soft one the best
answer so far is given, marked as degraded.
"""

from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response

from common import domain
from common.playground.serve import add_playground
from common.prediction.input_decoder import InputDecoder
from common.service.lean_route import LeanRoute
from common.service.request_body import read_body
from common.service.request_context import RequestContext, cancel_on_disconnect, media_type, request_context
from common.service.responses import json_response, problems, request_body
from common.service.service import Service, until_first_success
from common.store.image_store import ImageStore, StoredImage
from microservice_vertical.schemas import (
    Answered,
    FailedAnswer,
    Prediction,
    QualityAnswer,
    ReadingAnswer,
    gathered,
)
from microservice_vertical.settings import ProxySettings
from microservice_vertical.stages import Letter, Stage, connect


def create_app(settings: ProxySettings | None = None) -> FastAPI:
    """The proxy: `uvicorn microservice_vertical.proxy:create_app --factory`."""
    settings = settings or ProxySettings.from_environment()
    app = Service("microservice_vertical", settings)
    store, stages = ImageStore(app, "microservice_vertical", settings), connect(app, settings)
    app.include_router(images_router(Flow(*stages, settings), store, settings))
    for stage in stages:
        is_ready = stage.classifier.is_ready
        app.add_check(is_ready if stage.required else until_first_success(is_ready))
    app.add_check(until_first_success(store.is_ready))
    add_playground(app, Path(__file__).parent)
    return app


class Flow:
    """The order of predictions."""

    def __init__(self, quality: Stage, reader: Stage, specialist: Stage, settings: ProxySettings) -> None:
        self._quality, self._reader, self._specialist = quality, reader, specialist
        self._escalate_below = settings.escalate_below

    async def predict(self, letter: Letter, context: RequestContext) -> Prediction:
        """Each step depends on the one before it."""
        quality = await self._quality.ask(letter, context)
        if isinstance(quality, QualityAnswer) and not quality.legible:
            return gathered([quality])

        reading = await self._reader.ask(letter, context)
        if self._is_confident(reading):
            return gathered([quality, reading])

        return gathered([quality, reading, await self._specialist.ask(letter, context)])

    def _is_confident(self, reading: Answered | FailedAnswer) -> bool:
        return isinstance(reading, ReadingAnswer) and reading.confidence > self._escalate_below


def images_router(flow: Flow, store: ImageStore, settings: ProxySettings) -> APIRouter:
    """`POST /images` and `POST /predict`."""
    router = APIRouter(route_class=LeanRoute)
    inputs = InputDecoder(settings, settings.max_scans)

    @router.post(
        "/images",
        summary="Store the scans of a letter",
        status_code=201,
        response_model=StoredImage,
        responses=problems(400, 405, 408, 413, 415, 422, 500, 503, 504),
        openapi_extra=request_body(domain.Input | list[domain.Input], *domain.MEDIA_TYPES),
    )
    async def store_image(request: Request) -> Response:
        """A picture, or a JSON list of several scans of the same letter, gives an `image_id`."""
        scans, _ = await inputs.decode(request, await read_body(request))
        image_id = await store.put(scans, request_context(request))
        return json_response(StoredImage(image_id=image_id), 201)

    @router.post(
        "/predict",
        summary="Read a digit, in stages",
        response_model=Prediction,
        responses=problems(400, 404, 405, 408, 413, 415, 422, 500, 502, 503, 504),
        openapi_extra=request_body(domain.Input | StoredImage, *domain.MEDIA_TYPES),
    )
    async def predict(request: Request) -> Response:
        """A picture, or the id of a letter's scans, gives a digit and the stages that led to it.

        An illegible scan gives no digit and one stage.
        """
        letter = await find_letter(request)
        prediction = await cancel_on_disconnect(request, flow.predict(letter, request_context(request)))
        return json_response(prediction)

    async def find_letter(request: Request) -> Letter:
        """The picture in the request, or the stored scans: fetched here for all predictors, or by each for itself."""
        body = await read_body(request)
        stored = StoredImage.named_in(body) if media_type(request) == "application/json" else None
        if stored is None:
            return await inputs.decode_one(request, body)
        if settings.retrieval == "predictor":
            return stored.image_id
        return await store.get(stored.image_id, "all", request_context(request))

    return router
