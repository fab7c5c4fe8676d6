"""Letters: what the flow answers, the steps that a caller who waits is told of, and how many went where."""

from collections.abc import Callable
from typing import Annotated, ClassVar

from prometheus_client import CollectorRegistry, Counter
from pydantic import BaseModel, Field

from common import domain
from common.service.tracing import current_trace

BINS: list[object] = [*domain.LABELS, "manual"]
Bin = Annotated[str, Field(json_schema_extra={"enum": BINS})]


class Registration(BaseModel):
    """The first step: the letter has a number."""

    event: ClassVar = "registered"
    letter_id: str


class Reading(BaseModel):
    """The second step: the predictor has answered, or will not be waited for any longer."""

    event: ClassVar = "read"
    prediction: domain.Output | None


class Letter(BaseModel):
    """The last step, and the answer: a letter that has its bin."""

    event: ClassVar = "sorted"
    letter_id: str = Field(examples=["0b7a4f0e-5b0d-4b4e-9f53-2c1d1f0a6a55"])
    bin: Bin = Field(description="The label, or `manual`: a person reads this letter.", examples=[domain.LABELS[-1]])
    degraded: bool = Field(description="True: no reading came in time, and `manual` is the fallback.")
    prediction: domain.Output | None = Field(description="The reading, or null where there is none.")


Step = Registration | Reading | Letter


def bin_for(prediction: domain.Output | None) -> Bin:
    """The label's bin; a person reads what could not be read."""
    return str(getattr(prediction, domain.LABEL)) if prediction else "manual"


def letters_sorted(registry: CollectorRegistry) -> Callable[[Bin], None]:
    """Counts letters by bin; an exemplar in OpenMetrics names the trace of the latest one."""
    counter = Counter("letters", "Letters sorted.", ["bin"], registry=registry)

    def count(bin_: Bin) -> None:
        trace = current_trace.get()
        counter.labels(bin_).inc(1, {"trace_id": trace.trace_id} if trace else None)

    return count
