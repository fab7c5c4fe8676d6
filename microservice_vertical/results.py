"""What a stage of the flow gives: a result inside the proxy, before it becomes JSON."""

from dataclasses import dataclass
from typing import Literal

from common.backends.classifier import Classification
from common.backends.errors import BackendError
from common.domain import OUTPUTS, ModelRef, Output as Digit
from common.prediction.output import to_prediction as to_digit

StageName = Literal["quality", "reader", "specialist"]
LEGIBILITY_CLASSES, LEGIBLE = 2, 1
"""How many classes the quality model has, and which of them means legible."""
DECIMALS = 6


@dataclass(frozen=True, slots=True)
class StageResult:
    """The result of one stage: `legible` (quality), or a `reading`, or the `failure` of an optional stage."""

    name: StageName
    seconds: float
    model: ModelRef | None = None
    confidence: float = 0.0
    legible: bool | None = None
    reading: Digit | None = None
    failure: BackendError | None = None


def to_result(name: StageName, classification: Classification, seconds: float) -> StageResult:
    """What the probabilities of a service mean. Those of several scans are averaged, so every scan counts the same."""
    model = ModelRef(name=classification.model, version=classification.version)
    mean = classification.probabilities.mean(axis=0, keepdims=True)
    if name == "quality":
        confidence, legible = round(float(mean.max()), DECIMALS), bool(mean[0, LEGIBLE] >= 0.5)
        return StageResult(name, seconds, model, confidence, legible=legible)
    reading = to_digit({OUTPUTS[0]: mean}, model.name, model.version)
    return StageResult(name, seconds, model, reading.confidence, reading=reading)
