"""The proxy: it calls one service after another, and each call depends on the result of the one before.

Is the scan legible? Then the reader reads it. Is the reader's confidence low? Then the specialist reads every scan. One
deadline covers all stages. If a required stage fails, the request fails with 502, 503 or 504. If an optional one fails,
the best answer without it is given, marked as degraded.
"""

from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response

from common import domain
from common.playground.serve import add_playground
from common.prediction.input_decoder import InputDecoder
from common.service.body.reading import read_body
from common.service.lean_route import LeanRoute
from common.service.request_context import RequestContext, cancel_on_disconnect, media_type, request_context
from common.service.responses import json_response, problems, request_body
from common.service.service import Service, until_first_success
from common.store.image_store import ImageStore, StoredImage
from microservice_vertical.schemas import Prediction, to_prediction
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
    add_playground(app, Path(__file__).parent, store="/images")
    return app


class Flow:
    """The order of predictions."""

    def __init__(self, quality: Stage, reader: Stage, specialist: Stage, settings: ProxySettings) -> None:
        self._quality, self._reader, self._specialist = quality, reader, specialist
        self._escalate_below = settings.escalate_below

    async def predict(self, letter: Letter, context: RequestContext) -> Prediction:
        """Each stage depends on the one before it."""
        quality = await self._quality.predict(letter, context)
        if quality.legible is False:
            return to_prediction([quality])

        reading = await self._reader.predict(letter, context)
        if reading.reading and reading.confidence > self._escalate_below:
            return to_prediction([quality, reading])

        return to_prediction([quality, reading, await self._specialist.predict(letter, context)])


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
        """The picture in the request, or stored scans: loaded here, or their id, for each predictor to load."""
        body = await read_body(request)
        stored = StoredImage.from_body(body) if media_type(request) == "application/json" else None
        if stored is None:
            return await inputs.decode_one(request, body)
        if settings.retrieval == "predictor":
            return stored.image_id
        return await store.get(stored.image_id, "all", request_context(request))

    return router
