"""The proxy: it gets the scans and asks one service after another, each by what the one before has said.

Is it legible? Then the reader reads it. Is the reader in doubt? Then the specialist does, who looks at every scan.
One deadline holds over all. A hard step that fails is the request's failure, with the status that fits; without a soft
one the best answer so far is given, marked as degraded.
"""

from pathlib import Path

from fastapi import FastAPI

from common.playground.serve import add_playground
from common.prediction.picture_decoder import PictureDecoder
from common.service.request_context import Call, Reply
from common.service.service import Service, once
from common.store.image_store import ImageStore, StoredImage
from microservice_vertical.schemas import (
    KEEP,
    PREDICT,
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
    proxy = Proxy(store, stages, settings)
    app.add_endpoint("POST", "/images", proxy.keep, KEEP)
    app.add_endpoint("POST", "/predict", proxy.predict, PREDICT)
    for stage in stages:
        is_ready = stage.classifier.is_ready
        app.add_check(is_ready if stage.hard else once(is_ready))
    app.add_check(once(store.is_ready))
    add_playground(app, Path(__file__).parent)
    return app


class Proxy:
    """The endpoints, and the order of predictions behind them."""

    def __init__(self, store: ImageStore, stages: tuple[Stage, Stage, Stage], settings: ProxySettings) -> None:
        self._store = store
        self._quality, self._reader, self._specialist = stages
        self._doubt_up_to = settings.doubt_up_to
        self._retrieves = settings.retrieval == "proxy"
        self._pictures = PictureDecoder(settings.max_pixels, settings.max_scans)

    async def keep(self, call: Call) -> Reply:
        """`POST /images`: keep the scans of a letter."""
        scans, _ = await self._pictures.decode(call, await call.body())
        image_id = await self._store.put(scans, call)
        return Reply(StoredImage(image_id=image_id).model_dump_json().encode(), 201)

    async def predict(self, call: Call) -> Reply:
        """`POST /predict`: retrieve, predict in order, gather."""
        letter = await self._letter(call)
        with call.while_client_waits():
            prediction = await self._predict(letter, call)
        return Reply(prediction.model_dump_json().encode())

    async def _letter(self, call: Call) -> Letter:
        """The picture in the request, or the scans that it names: got once for all, or by each predictor for itself."""
        body = await call.body()
        stored = StoredImage.named_in(body) if call.media_type == "application/json" else None
        if stored is None:
            return await self._pictures.decode_one(call, body)
        return await self._store.get(stored.image_id, "all", call) if self._retrieves else stored.image_id

    async def _predict(self, letter: Letter, call: Call) -> Prediction:
        """Each step depends on the one before it."""
        quality = await self._quality.ask(letter, call)
        if isinstance(quality, QualityAnswer) and not quality.legible:
            return gathered([quality])

        reading = await self._reader.ask(letter, call)
        if not self._is_doubtful(reading):
            return gathered([quality, reading])

        return gathered([quality, reading, await self._specialist.ask(letter, call)])

    def _is_doubtful(self, reading: Answered | FailedAnswer) -> bool:
        """Whether the reader is no surer than the setting says, or has not read at all."""
        return not isinstance(reading, ReadingAnswer) or reading.confidence <= self._doubt_up_to
