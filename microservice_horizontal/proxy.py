"""The proxy: it asks all members at once and makes one answer of theirs; or it puts a job where all of them read it.

A member that is slow, hung or dead costs the answer one vote, and is named in it. How long is waited for whom is the
policy's to say (`gather.py`), and what the votes become the aggregation's (`voting.py`).
"""

from functools import partial
from pathlib import Path

from fastapi import FastAPI

from common.backends.errors import BackendError
from common.jobs.redis_connection import connect as connect_redis
from common.playground.serve import add_playground
from common.prediction.picture_decoder import PictureDecoder
from common.service.problems import Problem
from common.service.request_context import Call, Reply
from common.service.service import Service, once
from common.store.image_store import ImageStore, StoredImage
from microservice_horizontal.gather import NOT_AWAITED, hear
from microservice_horizontal.jobs.endpoints import SUBMIT, JobIntake, add_job_endpoints
from microservice_horizontal.jobs.stream import JobStream
from microservice_horizontal.members import Member, Picture, connect
from microservice_horizontal.schemas import (
    KEEP,
    PREDICT,
    PREDICT_ONE,
    Missing,
    VoteQuery,
    to_digit,
    to_prediction,
)
from microservice_horizontal.settings import ProxySettings


def create_app(settings: ProxySettings | None = None) -> FastAPI:
    """The proxy: `uvicorn microservice_horizontal.proxy:create_app --factory`."""
    settings = settings or ProxySettings.from_environment()
    app = Service("microservice_horizontal", settings)
    members = connect(app, settings)
    store = ImageStore(app, "microservice_horizontal", settings)
    proxy = Proxy(members, store, settings)
    app.add_endpoint("POST", "/images", proxy.keep, KEEP)
    app.add_endpoint("POST", "/predict", proxy.predict, PREDICT)
    for member in members.values():
        app.add_endpoint("POST", f"/predict/{member.name}", partial(proxy.predict_one, member), PREDICT_ONE)
        app.add_check(once(member.classifier.is_ready))
    app.post("/predict/{model}", include_in_schema=False)(partial(no_such_model, list(members)))

    redis = connect_redis(app, settings.redis_url)
    jobs = JobStream(redis, settings.job_ttl_seconds)
    app.add_endpoint("POST", "/jobs", JobIntake(jobs, proxy.picture, settings), SUBMIT)
    add_job_endpoints(app, redis, jobs, settings)
    app.add_check(once(store.is_ready))
    add_playground(app, Path(__file__).parent)
    return app


class Proxy:
    """The endpoints, and the fan-out behind them."""

    def __init__(self, members: dict[str, Member], store: ImageStore, settings: ProxySettings) -> None:
        self._members = members
        self._store = store
        self._settings = settings
        self._pictures = PictureDecoder(settings.max_pixels, max_pictures=1)

    async def predict(self, call: Call) -> Reply:
        """`POST /predict`: ask all in parallel, aggregate what comes back."""
        query = call.query(VoteQuery)
        policy, quorum = query.policy or self._settings.policy, query.quorum or self._settings.quorum
        if quorum > len(self._members):
            raise Problem(422, f"query quorum: expected 1 to {len(self._members)}, got {quorum}")
        picture = await self.picture(call, self._settings.retrieval == "proxy")
        with call.while_client_waits():
            heard = await hear({name: one.ask(picture, call) for name, one in self._members.items()}, policy, quorum)
        in_order = [name for name in self._members if name in heard.answers]
        missing = [
            Missing(model=name, reason=heard.failures[name].reason if name in heard.failures else NOT_AWAITED)
            for name in self._members
            if name not in heard.answers
        ]
        predictions = {name: to_digit(heard.answers[name]) for name in in_order}
        how = query.aggregation or self._settings.aggregation
        prediction = to_prediction(predictions, missing, how, self._settings.weights)
        return Reply(prediction.model_dump_json().encode())

    async def predict_one(self, member: Member, call: Call) -> Reply:
        """`POST /predict/{model}`: that model's answer alone."""
        picture = await self.picture(call, self._settings.retrieval == "proxy")
        try:
            with call.while_client_waits():
                classification = await member.ask(picture, call)
        except BackendError as error:
            raise error.problem() from None
        return Reply(to_digit(classification).model_dump_json().encode())

    async def keep(self, call: Call) -> Reply:
        """`POST /images`: keep a picture."""
        picture = await self._pictures.decode_one(call, await call.body())
        image_id = await self._store.put(picture, call)
        return Reply(StoredImage(image_id=image_id).model_dump_json().encode(), 201)

    async def picture(self, call: Call, retrieve: bool) -> Picture:
        """The picture in the request, or the one that it names: got here, once for all, or left to the members."""
        body = await call.body()
        stored = StoredImage.named_in(body) if call.media_type == "application/json" else None
        if stored is None:
            return await self._pictures.decode_one(call, body)
        return await self._store.get(stored.image_id, "first", call) if retrieve else stored.image_id


async def no_such_model(names: list[str], model: str) -> None:
    """Say which there are."""
    raise Problem(404, f"there is no model {model!r:.60}: expected one of {', '.join(names)}")
