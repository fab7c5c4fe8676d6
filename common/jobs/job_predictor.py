"""A job's payload in, a prediction out. Queues call the model only through this."""

import asyncio
from dataclasses import dataclass, field
from time import monotonic

from common.backends.classifier import validate_probabilities
from common.domain import digits
from common.inference.predictor import Predictor
from common.prediction.payload import to_features
from common.prediction.predict_endpoint import DIGITS, probabilities_output
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
    """Predicts payloads; those that are predicted at the same time share an inference."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._model = digits.ModelRef(name=predictor.model.name, version=predictor.model.version)
        self._input = predictor.model.inputs[0]
        self._output = probabilities_output(predictor.model)

    @property
    def fits(self) -> bool:
        """Whether the model reads digits at all."""
        return self._output is not None

    async def predict(self, payload: bytes, deadline: float) -> bytes:
        """The digit in JSON; raises what the model raises, ValueError where it gives no probabilities, or `Problem`:
        503 (no room by the deadline), 504 (too late).
        """
        assert self._output is not None
        features = to_features(payload).astype(self._input.dtype, copy=False)
        while True:
            try:
                outputs = await self._predictor.predict({self._input.name: features}, 1, JobContext(deadline))
                break
            except Problem as problem:
                if problem.status_code != 503 or monotonic() >= deadline:
                    raise
                await asyncio.sleep(FULL_SECONDS)  # callers over HTTP fill the queue in front of the model
        try:
            validate_probabilities(outputs[self._output], len(DIGITS), 1)
        except ValueError as error:
            raise ValueError(f"{self._model.name}: {error}") from None
        return digits.to_json(outputs[self._output], self._model, many=False)
