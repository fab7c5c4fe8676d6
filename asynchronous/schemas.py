"""A job as its client sees it: the submission, the response, the state."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Header
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    UrlConstraints,
    ValidationError,
)

from common import domain
from common.prediction.payload import to_rows

Status = Literal["queued", "running", "done", "failed"]
Delivery = Literal["at-least-once", "at-most-once"]
Destination = Literal["database", "webhook"]
CallbackUrl = Annotated[AnyHttpUrl, UrlConstraints(max_length=2_000, allowed_schemes=["http", "https"])]
EXAMPLE = "0b7a4f0e-5b0d-4b4e-9f53-2c1d1f0a6a55"


def _visible_ascii(key: str) -> str:
    key = key.strip()
    if not (key.isascii() and key.isprintable() and len(key) <= 255):
        raise ValueError("expected up to 255 visible ASCII characters")
    return key


IdempotencyKey = Annotated[
    str,
    AfterValidator(_visible_ascii),
    Header(description="Requests with the same key and body are one job, however often they are sent."),
]


class SubmitQuery(BaseModel):
    """Query parameters of a submission."""

    model_config = ConfigDict(extra="forbid")

    callback_url: CallbackUrl | None = Field(None, description="Where the result is delivered, signed.")
    ordering_key: str | None = Field(
        None, min_length=1, max_length=200, description="Jobs with the same key are done in order of arrival."
    )


class Accepted(BaseModel):
    """The job is stored and will be done."""

    job_id: str = Field(examples=[EXAMPLE])
    status: Literal["queued"] = "queued"
    delivery: Delivery = Field("at-least-once", description="at-most-once: it may be lost without notice.")


class Job(BaseModel):
    """The state of a job. A cancelled job is `failed`."""

    job_id: str = Field(examples=[EXAMPLE])
    status: Status
    prediction: domain.Output | None = Field(description="Once the job is done.")
    error: str | None = Field(description="Why it failed, or why its latest attempt did.")
    attempts: int = Field(description="How often a predictor has started it.")
    submitted_at: datetime
    started_at: datetime | None = Field(description="When its latest attempt started.")
    finished_at: datetime | None
    ordering_key: str | None
    waiting_for: str | None = Field(None, description="What a queued job needs that is missing: a predictor.")
    delivered: dict[Destination, datetime | None] = Field(
        {}, description="Where the delivery brings the result, and when each had it; null: not yet."
    )

    @property
    def ended(self) -> bool:
        """Whether its state is final, unless its dead letter is retried."""
        return self.status in ("done", "failed")


class FailedJob(BaseModel):
    """A job that failed for good."""

    job_id: str = Field(examples=[EXAMPLE])
    failed_at: datetime
    attempts: int
    error: str


class DeadLetter(domain.Input, FailedJob):
    """A job that failed for good, with the fields of its input, to find out why."""

    model_config = ConfigDict(json_schema_extra={})


_prediction = TypeAdapter(domain.Output)


def to_job(job_id: str, fields: dict[bytes, bytes]) -> Job:
    """The fields of a job in Redis, as its client sees them.

    A prediction that is not of the domain's form (another model's, say) is None, and `error` says so.
    """
    text = {name.decode(): value.decode() for name, value in fields.items() if name != b"payload"}
    prediction = None
    if "prediction" in text:
        try:
            prediction = _prediction.validate_json(text["prediction"])
        except ValidationError as error:
            text["error"] = (
                f"the prediction does not have the expected form: {error.errors(include_url=False)[0]['msg']}"
            )
    return Job(
        job_id=job_id,
        status=text["status"],
        prediction=prediction,
        error=text.get("error"),
        attempts=int(text.get("attempts", 0)),
        submitted_at=to_time(text["submitted_at"]),
        started_at=to_time(text["started_at"]) if "started_at" in text else None,
        finished_at=to_time(text["finished_at"]) if "finished_at" in text else None,
        ordering_key=text.get("ordering_key") or None,
        delivered=_to_delivered(text),
    )


def _to_delivered(text: dict[str, str]) -> dict[Destination, datetime | None]:
    """A job without a callback URL has no webhook; one that is not in the queue is not delivered at all."""
    if "callback_url" not in text:
        return {}
    fields: dict[Destination, str] = {"database": "stored_at"}
    if text["callback_url"]:
        fields["webhook"] = "sent_at"
    return {place: to_time(text[name]) if name in text else None for place, name in fields.items()}


def to_dead_letter(entry: bytes, fields: dict[bytes, bytes]) -> DeadLetter:
    """An entry of the dead-letter stream; the first half of its id is a time in milliseconds.

    A letter of another domain (from before `common/domain` was replaced) has no input.
    """
    try:
        (item,) = [dict(item) for item in domain.to_items(to_rows(fields[b"payload"]))]
    except ValueError:
        item = {}
    return DeadLetter.model_construct(
        job_id=fields[b"job_id"].decode(),
        failed_at=to_time(int(entry.partition(b"-")[0]) / 1e3),
        attempts=int(fields[b"attempts"]),
        error=fields[b"error"].decode(),
        **item,
    )


def to_time(seconds: Any) -> datetime:
    """Seconds since the epoch as a moment in UTC."""
    return datetime.fromtimestamp(float(seconds), UTC)
