"""The proxy: the business flow, in which the prediction blocks the next step. Register the letter, read its digit,
choose its bin.

It fails softly: a predictor that is slow, hung, down or talks rubbish costs a letter its reading and not its answer,
which comes by the deadline and says `degraded`. With FALLBACK=false it is a 502, 503 or 504.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import numpy as np
from fastapi import FastAPI
from fastapi.sse import format_sse_event
from numpy.typing import NDArray

from common.backends.backend import Backend
from common.backends.classifier import Classifier
from common.backends.classifier_grpc import GrpcClassifier
from common.backends.classifier_rest import RestClassifier
from common.backends.errors import BackendError
from common.backends.http_client import HttpClient
from common.backends.metrics import BackendMetrics
from common.domain import digits
from common.playground.serve import add_playground
from common.prediction.picture_decoder import PictureDecoder
from common.service.problems import Problem
from common.service.request_context import Call, Reply, Stream
from common.service.service import Service, once
from synchronous.schemas import SORT, Letter, Reading, Registration, Step, bin_for, letters_sorted
from synchronous.settings import ProxySettings


def create_app(settings: ProxySettings | None = None) -> FastAPI:
    """The proxy: `uvicorn synchronous.proxy:create_app --factory`."""
    settings = settings or ProxySettings.from_environment()
    app = Service("synchronous", settings)
    reader = connect(app, settings)
    app.add_endpoint("POST", "/letters", LetterFlow(app, reader, settings), SORT)
    app.add_check(once(reader.is_ready) if settings.fallback else reader.is_ready)
    add_playground(app, Path(__file__).parent, "/letters")
    return app


def connect(app: Service, settings: ProxySettings) -> Classifier:
    """The predictor at PREDICTOR_URL; the flow does not care which of the two it is."""
    backend = Backend("predictor", settings, BackendMetrics(app.metrics.registry))
    url, names = settings.predictor_url, {"input_name": digits.INPUT, "output_name": digits.OUTPUT}
    if url.startswith("grpc://"):
        return GrpcClassifier(backend, app, url, **names, classes=digits.CLASSES)
    return RestClassifier(backend, HttpClient(app), url, **names, classes=digits.CLASSES)


class LetterFlow:
    """The endpoint: a picture in, a letter with its bin out, at once or step by step."""

    def __init__(self, app: Service, reader: Classifier, settings: ProxySettings) -> None:
        self._reader = reader
        self._fallback = settings.fallback
        self._pictures = PictureDecoder(settings.max_pixels, max_pictures=1)
        self._sorted = letters_sorted(app.metrics.registry)

    async def __call__(self, call: Call) -> Reply | Stream:
        """Answer with the letter, or tell of each step as soon as it is done."""
        picture = await self._pictures.decode_one(call, await call.body())
        steps = self._steps(picture, call)
        if b"text/event-stream" in call.headers.get(b"accept", b""):
            return Stream(_events(steps))
        async for step in steps:
            letter = step
        return Reply(letter.model_dump_json().encode())

    async def _steps(self, picture: NDArray[np.float32], call: Call) -> AsyncIterator[Step]:
        """The flow. Its second step waits for the predictor, and the third depends on what comes of it."""
        letter_id = call.log["letter_id"] = str(uuid4())
        yield Registration(letter_id=letter_id)

        prediction = await self._read(picture, call)
        yield Reading(prediction=prediction)

        chosen = call.log["bin"] = bin_for(prediction)
        self._sorted(chosen)
        yield Letter(letter_id=letter_id, bin=chosen, degraded=prediction is None, prediction=prediction)

    async def _read(self, picture: NDArray[np.float32], call: Call) -> digits.Digit | None:
        """The digit; None if it does not come in time and there is a fallback."""
        try:
            with call.while_client_waits():
                reading = await self._reader.classify(picture, call)
        except BackendError as error:
            if self._fallback:
                call.timings["fallback"] = 0.0  # takes no time, but lights up in the playground
                return None
            raise error.problem() from None
        model = digits.ModelRef(name=reading.model, version=reading.version)
        return digits.to_digits(reading.probabilities, model)[0]


async def _events(steps: AsyncIterator[Step]) -> AsyncIterator[bytes]:
    """Each step as a server-sent event; the last is `sorted`, or `problem`."""
    try:
        async for step in steps:
            yield format_sse_event(event=step.event, data_str=step.model_dump_json())
    except Problem as problem:
        yield format_sse_event(event="problem", data_str=problem.document().decode())
