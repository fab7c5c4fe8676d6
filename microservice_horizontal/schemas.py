"""The JSON models: the aggregated digit, each member's digit, and the members that are missing."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from common.backends.classifier import Classification
from common.domain import OUTPUTS, ModelRef, Output as Digit
from common.prediction.output import to_prediction as to_output
from microservice_horizontal.settings import Aggregation, Policy
from microservice_horizontal.voting import aggregate


class VoteQuery(BaseModel):
    """What a caller may choose for one request; the settings are the defaults."""

    model_config = ConfigDict(extra="forbid")

    policy: Policy | None = None
    quorum: int | None = Field(None, gt=0)
    aggregation: Aggregation | None = None


class Missing(BaseModel):
    """A model without an answer."""

    model: str
    reason: str = Field(description="timeout, refused, error, breaker open, not awaited, or (of a job) late")


class Prediction(BaseModel):
    """The digit that the votes become, and the votes themselves."""

    digit: int | None = Field(description="Null under the aggregation `none`.")
    confidence: float | None
    probabilities: list[float] | None
    model: ModelRef | None = Field(description="The aggregation; its version changes when that of a member does.")
    predictions: dict[str, Digit] = Field(description="Each model's own reading.")
    missing: list[Missing] = Field(description="The models without a reading, and why.")


def to_digit(classification: Classification) -> Digit:
    """One model's reading of one picture."""
    return to_output(classification.outputs, classification.model, classification.version)


def to_prediction(
    predictions: Mapping[str, Digit], missing: Sequence[Missing], aggregation: Aggregation, weights: Mapping[str, float]
) -> Prediction:
    """The answer: the aggregate of these readings, the readings themselves, and the members that are missing."""
    digit = aggregate_digits(predictions, aggregation, weights)
    fields = dict(digit) if digit else dict.fromkeys(Digit.model_fields)
    return Prediction.model_validate(fields | {"predictions": predictions, "missing": missing})


def aggregate_digits(
    predictions: Mapping[str, Digit], aggregation: Aggregation, weights: Mapping[str, float]
) -> Digit | None:
    """The digit that these readings become, or None for the aggregation `none`.

    `confidence` is the largest of the aggregated probabilities; `digit` is the aggregation's choice among equal ones.
    """
    votes = {member: np.array(digit.probabilities, np.float32) for member, digit in predictions.items()}
    found = aggregate(votes, aggregation, weights)
    if found is None:
        return None
    versions = ",".join(sorted(f"{digit.model.name}:{digit.model.version}" for digit in predictions.values()))
    version = hashlib.sha256(versions.encode()).hexdigest()[:12]
    digit = to_output({OUTPUTS[0]: found.probabilities[np.newaxis]}, aggregation, version)
    return digit.model_copy(update={"digit": found.digit})  # of several that are equally likely
