"""The JSON models of a letter and of the steps of its flow, and the counter of letters by bin."""

from collections.abc import Callable
from typing import Annotated, ClassVar

from prometheus_client import CollectorRegistry, Counter
from pydantic import BaseModel, Field

from common import domain
from common.telemetry.tracing import current_trace

BINS: list[object] = [*domain.LABELS, "manual"]
Bin = Annotated[str, Field(json_schema_extra={"enum": BINS})]


class Registration(BaseModel):
    """The first step: the letter has an id."""

    event: ClassVar = "registered"
    letter_id: str


class Reading(BaseModel):
    """The second step: the predictor has answered, or the flow no longer waits for it."""

    event: ClassVar = "read"
    prediction: domain.Output | None


class Letter(BaseModel):
    """The last step, and the answer: a letter with its bin."""

    event: ClassVar = "sorted"
    letter_id: str = Field(examples=["0b7a4f0e-5b0d-4b4e-9f53-2c1d1f0a6a55"])
    bin: Bin = Field(description="The label, or `manual`: a person reads this letter.", examples=BINS[:1])
    degraded: bool = Field(description="True: no reading came in time, and `manual` is the fallback.")
    prediction: domain.Output | None = Field(description="The reading, or null if there is none.")


Step = Registration | Reading | Letter


def choose_bin(prediction: domain.Output | None) -> Bin:
    """The bin of the label; `manual` if there is no reading, or no label."""
    label = str(getattr(prediction, domain.LABEL, ""))
    return label if label in domain.LABELS else "manual"


def add_letter_counter(registry: CollectorRegistry) -> Callable[[Bin], None]:
    """A function that counts a letter by its bin; an OpenMetrics exemplar names the trace of the latest one."""
    counter = Counter("letters", "Letters sorted.", ["bin"], registry=registry)

    def count(bin_: Bin) -> None:
        trace = current_trace.get()
        counter.labels(bin_).inc(1, {"trace_id": trace.trace_id} if trace else None)

    return count
