"""A job's payload in, a prediction out. Queues call the model only through this."""

import asyncio
from dataclasses import dataclass, field
from time import monotonic

from common import domain
from common.backends.classifier import validate_outputs
from common.inference.predictor import Predictor
from common.prediction.domain_model import DomainModel
from common.prediction.payload import to_rows
from common.service.problems import Problem

FULL_SECONDS = 0.05


@dataclass(slots=True)
class JobContext:
    """Takes the place of a request's context, since a job has no request; `deadline` is a `time.monotonic()`."""

    deadline: float
    timings: dict[str, float] = field(default_factory=dict)

    def client_disconnected(self) -> bool:
        """A job's client never waits."""
        return False


class JobPredictor:
    """Predicts payloads; those that are predicted at the same time share an inference. The model fits the domain."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._model = DomainModel(predictor.model)

    async def predict(self, payload: bytes, deadline: float) -> bytes:
        """The prediction in JSON; raises what the model raises, ValueError where it gives no probabilities or no
        finite numbers, or `Problem`: 503 (no room by the deadline), 504 (too late).
        """
        inputs = self._model.to_inputs(to_rows(payload))
        while True:
            try:
                outputs = await self._predictor.predict(inputs, 1, JobContext(deadline))
                break
            except Problem as problem:
                if problem.status_code != 503 or monotonic() >= deadline:
                    raise
                await asyncio.sleep(FULL_SECONDS)  # callers over HTTP fill the queue in front of the model
        try:
            validate_outputs(self._model.to_tensors(outputs), len(domain.LABELS), 1)
        except ValueError as error:
            raise ValueError(f"{self._model.ref.name}: {error}") from None
        return self._model.to_json(self._model.to_outputs(outputs)[0])
