"""The JSON models of a job: the answers so far, the next action, and the aggregate."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter
from pydantic_core import from_json

from common.domain import Output as Digit
from microservice_horizontal.schemas import Missing


class Accepted(BaseModel):
    """The job is stored, and all members will read it."""

    job_id: str = Field(examples=["0b7a4f0e-5b0d-4b4e-9f53-2c1d1f0a6a55"])
    status: Literal["running"] = "running"


class Early(BaseModel):
    """The next action, which began as soon as the chosen model had answered."""

    model: str
    digit: int
    action: str
    at: datetime


class Job(BaseModel):
    """A job. A late answer is added to `predictions` and changes nothing else."""

    job_id: str
    status: Literal["running", "done", "failed"]
    prediction: Digit | None = Field(description="The aggregate of the votes when the job was closed.")
    predictions: dict[str, Digit] = Field(description="Each model's own reading, as soon as it is there.")
    missing: list[Missing] = Field(description="The models without a reading when the job was closed, and why.")
    early: Early | None
    error: str | None
    submitted_at: datetime
    finished_at: datetime | None


class Answers(BaseModel):
    """The answers to a job so far: digits and errors, by member."""

    predictions: dict[str, Digit]
    errors: dict[str, str]

    def __len__(self) -> int:
        return len(self.predictions) + len(self.errors)


_digit, _missing = TypeAdapter(Digit), TypeAdapter(list[Missing])


def to_answers(fields: Mapping[bytes, bytes], members: Sequence[str]) -> Answers:
    """The answers among the fields of a job, in the order of the members."""
    answers = {name: from_json(fields[key]) for name in members if (key := f"answer:{name}".encode()) in fields}
    return Answers(
        predictions={name: _digit.validate_python(answer) for name, answer in answers.items() if "error" not in answer},
        errors={name: answer["error"] for name, answer in answers.items() if "error" in answer},
    )


def to_missing(answers: Answers, members: Sequence[str], reason: str) -> list[Missing]:
    """The members without a reading: reason `error` if the member failed, else `reason`."""
    absent = [name for name in members if name not in answers.predictions]
    return [Missing(model=name, reason="error" if name in answers.errors else reason) for name in absent]


def to_job(job_id: str, fields: Mapping[bytes, bytes], members: Sequence[str]) -> Job:
    """The fields of a job in Redis, as its client sees them."""
    return Job(
        job_id=job_id,
        status=fields[b"status"].decode(),
        prediction=_digit.validate_json(fields[b"prediction"]) if b"prediction" in fields else None,
        predictions=to_answers(fields, members).predictions,
        missing=_missing.validate_json(fields[b"missing"]) if b"missing" in fields else [],
        early=Early.model_validate_json(fields[b"early"]) if b"early" in fields else None,
        error=fields[b"error"].decode() if b"error" in fields else None,
        submitted_at=to_time(fields[b"submitted_at"]),
        finished_at=to_time(fields[b"finished_at"]) if b"finished_at" in fields else None,
    )


def to_time(seconds: Any) -> datetime:
    """Seconds since the epoch as a moment in UTC."""
    return datetime.fromtimestamp(float(seconds), UTC)
