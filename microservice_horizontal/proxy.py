"""The proxy: it calls all members at the same time and aggregates their votes, or it submits a job for all of them.

A member that is slow, hung or down costs the answer one vote, and the answer names it. The policy decides which members
are waited for (`gather.py`), and the aggregation what the votes become (`voting.py`).
"""

from collections.abc import Awaitable, Callable
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response

from common import domain
from common.backends.errors import BackendError
from common.jobs.redis_connection import connect as connect_redis
from common.playground.serve import add_playground
from common.prediction.input_decoder import InputDecoder
from common.service.body.reading import read_body
from common.service.lean_route import LeanRoute
from common.service.problems import Problem
from common.service.request_context import cancel_on_disconnect, media_type, request_context
from common.service.responses import json_response, problems, request_body
from common.service.service import Service, until_first_success
from common.store.image_store import ImageStore, StoredImage
from microservice_horizontal.gather import NOT_AWAITED, gather
from microservice_horizontal.jobs.endpoints import job_router
from microservice_horizontal.jobs.stream import JobStream
from microservice_horizontal.members import Member, Picture, connect
from microservice_horizontal.schemas import Missing, Prediction, VoteQuery, to_digit, to_prediction
from microservice_horizontal.settings import ProxySettings

FindPicture = Callable[[Request, bool], Awaitable[Picture]]
"""The picture that a request contains or names by an id; if the flag is set, it is loaded from the store."""


def create_app(settings: ProxySettings | None = None) -> FastAPI:
    """The proxy: `uvicorn microservice_horizontal.proxy:create_app --factory`."""
    settings = settings or ProxySettings.from_environment()
    app = Service("microservice_horizontal", settings)
    members = connect(app, settings)
    store = ImageStore(app, "microservice_horizontal", settings)
    inputs = InputDecoder(settings)

    async def find_picture(request: Request, retrieve: bool) -> Picture:
        body = await read_body(request)
        stored = StoredImage.from_body(body) if media_type(request) == "application/json" else None
        if stored is None:
            return await inputs.decode_one(request, body)
        return await store.get(stored.image_id, "first", request_context(request)) if retrieve else stored.image_id

    app.include_router(predict_router(members, find_picture, settings))
    app.include_router(image_router(store, inputs))
    for member in members.values():
        app.add_check(until_first_success(member.classifier.is_ready))

    redis = connect_redis(app, settings.redis_url)
    jobs = JobStream(redis, settings.job_ttl_seconds)
    app.include_router(job_router(app, redis, jobs, find_picture, settings))
    app.add_check(until_first_success(store.is_ready))
    add_playground(app, FilePath(__file__).parent)
    return app


def predict_router(members: dict[str, Member], find_picture: FindPicture, settings: ProxySettings) -> APIRouter:
    """`POST /predict` and `POST /predict/{model}`."""
    router = APIRouter(
        responses=problems(400, 404, 405, 408, 413, 415, 422, 500, 502, 503, 504),
    )
    body = request_body(domain.Input | StoredImage, *domain.MEDIA_TYPES)
    retrieve = settings.retrieval == "proxy"

    @router.post("/predict", openapi_extra=body)
    async def predict(request: Request, query: Annotated[VoteQuery, Query()]) -> Prediction:
        """All models read a digit at the same time, and their votes are aggregated.

        A picture, or the id of a stored one, gives the digit, the votes, and the models that are missing.
        """
        policy, quorum = query.policy or settings.policy, query.quorum or settings.quorum
        if quorum > len(members):
            raise Problem(422, f"query quorum: expected 1 to {len(members)}, got {quorum}")
        picture, context = await find_picture(request, retrieve), request_context(request)
        calls = {name: member.predict(picture, context) for name, member in members.items()}
        result = await cancel_on_disconnect(request, gather(calls, policy, quorum))
        missing = [
            Missing(model=name, reason=result.failures[name].reason if name in result.failures else NOT_AWAITED)
            for name in members
            if name not in result.votes
        ]
        predictions = {name: to_digit(result.votes[name]) for name in members if name in result.votes}
        return to_prediction(predictions, missing, query.aggregation or settings.aggregation, settings.weights)

    @router.post("/predict/{model}", openapi_extra=body)
    async def predict_one(
        request: Request, model: Annotated[str, Path(json_schema_extra={"enum": list[object](members)})]
    ) -> domain.Output:
        """The reading of one model alone."""
        if model not in members:
            raise Problem(404, f"no model {model!r:.60}: expected one of {', '.join(members)}")
        picture = await find_picture(request, retrieve)
        try:
            call = members[model].predict(picture, request_context(request))
            return to_digit(await cancel_on_disconnect(request, call))
        except BackendError as error:
            raise error.problem() from None

    return router


def image_router(store: ImageStore, inputs: InputDecoder) -> APIRouter:
    """`POST /images`."""
    router = APIRouter(route_class=LeanRoute)

    @router.post(
        "/images",
        summary="Store a picture",
        status_code=201,
        response_model=StoredImage,
        responses=problems(400, 405, 408, 413, 415, 422, 500, 503, 504),
        openapi_extra=request_body(domain.Input, *domain.MEDIA_TYPES),
    )
    async def store_image(request: Request) -> Response:
        """A picture gives an `image_id`, by which it can be read any number of times."""
        picture = await inputs.decode_one(request, await read_body(request))
        image_id = await store.put(picture, request_context(request))
        return json_response(StoredImage(image_id=image_id), 201)

    return router
