"""The JSON models: the prediction, and the stages that led to it."""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from common.domain import ModelRef, Output as Digit
from microservice_vertical.results import StageName, StageResult


class Stage(BaseModel):
    """A service that was called, and how long it took."""

    name: StageName
    milliseconds: float


class QualityStage(Stage):
    """Whether the scan is legible, and the model's confidence in that."""

    legible: bool
    confidence: float
    model: ModelRef


class ReadingStage(Stage):
    """The digit that a model reads, and its confidence."""

    digit: int
    confidence: float
    model: ModelRef


class FailedStage(Stage):
    """An optional stage that failed, and why."""

    error: str


AnyStage = QualityStage | ReadingStage | FailedStage


class Prediction(BaseModel):
    """The digit, and the stages that led to it."""

    digit: int | None = Field(description="Null if the scan is illegible.")
    confidence: float | None
    probabilities: list[float] | None
    model: ModelRef | None = Field(description="The model that read this digit.")
    legible: bool | None = Field(description="Null if `quality` is optional and failed.")
    degraded: bool = Field(description="True: an optional stage failed, and this is the best answer without it.")
    stages: list[AnyStage] = Field(description="The services that were called, in order.")


NO_DIGIT: dict[str, None] = dict.fromkeys(Digit.model_fields)


def to_prediction(results: Sequence[StageResult]) -> Prediction:
    """The answer from the stages so far: the last reading, or none if the scan is illegible.

    Raises `Problem` if a scan that may be legible got no reading. Of several failures the client sees the last: that
    stage was the last that could have given a reading.
    """
    failures = [result.failure for result in results if result.failure]
    readings = [result.reading for result in results if result.reading]
    legible = results[0].legible
    if legible is not False and not readings:
        raise failures[-1].problem()
    digit = dict(readings[-1]) if readings else NO_DIGIT
    stages = [_to_stage(result) for result in results]
    return Prediction.model_validate(digit | {"legible": legible, "degraded": bool(failures), "stages": stages})


def _to_stage(result: StageResult) -> AnyStage:
    fields: dict[str, object] = {"name": result.name, "milliseconds": round(result.seconds * 1e3, 3)}
    if result.failure:
        return FailedStage.model_validate(fields | {"error": str(result.failure)})
    fields |= {"confidence": result.confidence, "model": result.model}
    if result.reading:
        return ReadingStage.model_validate(fields | {"digit": result.reading.digit})
    return QualityStage.model_validate(fields | {"legible": result.legible})
