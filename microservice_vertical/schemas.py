"""What the proxy takes and answers."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from common.backends.classifier import Classification
from common.backends.errors import BackendError
from common.domain import OUTPUTS, ModelRef, Output
from common.prediction.output import to_prediction
from common.service.problems import Problem

StageName = Literal["quality", "reader", "specialist"]
LEGIBILITIES, LEGIBLE = 2, 1
"""The classes of the quality model, and which of them is the good one."""
DECIMALS = 6


class StageAnswer(BaseModel):
    """What came of asking one service, and how long it took."""

    name: StageName
    milliseconds: float


class QualityAnswer(StageAnswer):
    """Whether the scan is legible, and how sure the model is of that."""

    legible: bool
    confidence: float
    model: ModelRef


class ReadingAnswer(StageAnswer):
    """What a reader reads, and how sure it is."""

    digit: int
    confidence: float
    model: ModelRef
    reading: Output = Field(exclude=True)


class FailedAnswer(StageAnswer):
    """None: a soft step failed, and why."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    error: str
    problem: SkipValidation[Problem] = Field(exclude=True)


Answered = QualityAnswer | ReadingAnswer


class Prediction(BaseModel):
    """The digit and the way to it."""

    digit: int | None = Field(description="Null where the scan is illegible.")
    confidence: float | None
    probabilities: list[float] | None
    model: ModelRef | None = Field(description="Whose reading this is.")
    legible: bool | None = Field(description="Null where `quality`, as a soft step, failed.")
    degraded: bool = Field(description="True: a soft step failed, and this is the best answer without it.")
    stages: list[Answered | FailedAnswer] = Field(description="Who was asked, in order.")


def answered(name: StageName, classification: Classification, seconds: float) -> Answered:
    """What the probabilities of a service say; those of several scans count alike, so it is their mean."""
    model = ModelRef(name=classification.model, version=classification.version)
    mean = classification.probabilities.mean(axis=0, keepdims=True)
    if name == "quality":
        legible, confidence = bool(mean[0, LEGIBLE] >= 0.5), round(float(mean.max()), DECIMALS)
        return QualityAnswer(name=name, milliseconds=_ms(seconds), legible=legible, confidence=confidence, model=model)
    reading = to_prediction({OUTPUTS[0]: mean}, model.name, model.version)
    return ReadingAnswer(
        name=name,
        milliseconds=_ms(seconds),
        digit=reading.digit,
        confidence=reading.confidence,
        model=model,
        reading=reading,
    )


def failed(name: StageName, error: BackendError, seconds: float) -> FailedAnswer:
    """That a service gave no answer."""
    return FailedAnswer(name=name, milliseconds=_ms(seconds), error=str(error), problem=error.problem())


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


NO_DIGIT: dict[str, None] = dict.fromkeys(Output.model_fields)


def gathered(stages: Sequence[Answered | FailedAnswer]) -> Prediction:
    """The answer so far: the last reading there is; raises `Problem` where a legible scan got none."""
    qualities = [stage for stage in stages if isinstance(stage, QualityAnswer)]
    readings = [stage.reading for stage in stages if isinstance(stage, ReadingAnswer)]
    failures = [stage for stage in stages if isinstance(stage, FailedAnswer)]
    legible = qualities[0].legible if qualities else None
    if legible is not False and not readings:
        raise failures[-1].problem
    best = readings[-1] if readings else NO_DIGIT
    return Prediction.model_construct(**dict(best), legible=legible, degraded=bool(failures), stages=list(stages))
