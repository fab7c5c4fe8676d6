"""Schedules and runs as the API takes and returns them. A run or schedule that is not valid is refused here."""

from datetime import UTC, date, datetime
from itertools import islice, pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from batch.command_line import Engine, Retry
from batch.output.progress import ModelId, Progress
from batch.scheduling.cron import CatchUp, Rule, check_time_zone, fill_template
from batch.scheduling.shortest_gap import shortest_gap

State = Literal["queued", "running", "done", "failed", "cancelled", "late"]
YEAR = 366 * 86_400

PathText = Annotated[str, Field(min_length=1, max_length=1_000)]
Paths = Annotated[
    list[PathText],
    BeforeValidator(lambda given: [given] if isinstance(given, str) else given, json_schema_input_type=str | list[str]),
    Field(min_length=1, max_length=1_000),
]
Seconds = Annotated[float, Field(gt=0, le=YEAR, allow_inf_nan=False)]


class RunSpec(BaseModel):
    """What runs and schedules have in common."""

    model_config = ConfigDict(extra="forbid")

    input: Paths = Field(description="folders or files inside DATA_ROOT", examples=["scans"])
    output: PathText = Field(description="a folder inside DATA_ROOT", examples=["readings"])
    engine: Engine = "local"
    retry: Retry = Field(
        "partial", description="what a resumed run processes: all chunks, those that are missing, none"
    )
    deadline_seconds: Seconds | None = Field(None, description="from the request on, waiting included")
    on_deadline: Literal["stop", "finish"] = Field("stop", description="what happens at the deadline")


class RunRequest(RunSpec):
    """A run to start."""

    first: date | None = Field(None, description="the first partition date=YYYY-MM-DD")
    last: date | None = Field(None, description="the last partition")
    trial: bool = Field(False, description="one chunk, nothing is published")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.first and self.last and self.first > self.last:
            raise ValueError(f"expected first <= last, got {self.first} and {self.last}")
        return self

    def with_trial_output(self) -> Self:
        """A trial gets a folder of its own, apart from the results; names that begin with `_` are not data."""
        return self.model_copy(update={"output": f"{self.output}/_trial"}) if self.trial else self


class ScheduleRequest(RunSpec):
    """A schedule to add. Input and output are templates, with `{date}` and `{time}` of the due time."""

    name: str = Field(min_length=1, max_length=100, examples=["nightly"])
    rule: str = Field(max_length=200, description="hourly, daily, weekly, monthly or a cron line", examples=["daily"])
    time_zone: str = Field("UTC", max_length=100, description="a name of the IANA database", examples=["Europe/Berlin"])
    output: PathText = Field(description="a different folder for each due time", examples=["readings/{date}"])
    interval: int | None = Field(
        None, ge=1, le=3_660, description="number of days before the due date to read, as partitions date=YYYY-MM-DD"
    )
    overlap: Literal["forbid", "allow"] = Field(
        "forbid", description="if a run of it is still open at a due time: forbid skips the due time, allow runs it too"
    )
    catch_up: CatchUp = Field("latest", description="which of the due times missed while the manager was away are run")
    misfire_seconds: float = Field(60.0, ge=0, le=86_400, description="a due time this late is not missed")
    trial_rule: str | None = Field(None, max_length=200, description="when a trial run of the same input is started")

    @model_validator(mode="after")
    def _check_due_times(self) -> Self:
        if type(self) is not ScheduleRequest:
            return self  # as stored: checked when it was added. One that is no longer valid must not hide the others
        check_time_zone(self.time_zone)
        rule = Rule(self.rule, self.time_zone)
        if self.trial_rule is not None:
            Rule(self.trial_rule, self.time_zone)
        for template in (*self.input, self.output):
            if {"{", "}"} & {*template.replace("{date}", "").replace("{time}", "")}:
                raise ValueError(f"expected {{date}} and {{time}} as the only braces, got {template!r:.80}")
        sample = list(islice(rule.due_times(datetime.fromisoformat("2026-01-01T00:00Z")), 50))
        for before, due in pairwise(sample):
            if (output := fill_template(self.output, due, rule.zone)) == fill_template(self.output, before, rule.zone):
                raise ValueError(
                    f"output: two due times would share {output}: expected {{date}}, perhaps also {{time}}"
                )
        if self.overlap == "forbid" and self.deadline_seconds:
            shortest = shortest_gap(rule, datetime.now(UTC)).total_seconds()
            if self.deadline_seconds > shortest:
                raise ValueError(
                    f"deadline_seconds: expected at most {shortest:.0f}, the shortest time to the next due time "
                    f"of the coming years (overlap=forbid), got {self.deadline_seconds}"
                )
        return self


class Schedule(ScheduleRequest):
    """A schedule as it is stored."""

    id: str
    created_at: datetime
    next_due: datetime | None
    next_trial: datetime | None
    skipped: str | None = Field(None, description="the latest due times that were not run, and why")
    last_run: "Run | None" = None


class Run(RunSpec):
    """A run as it is stored. Paths are relative to DATA_ROOT."""

    id: str
    schedule_id: str | None
    due_at: datetime | None
    state: State
    trial: bool
    first: date | None
    last: date | None
    attempts: int = Field(description="number of jobs started for it")
    crashes: int = Field(description="number of jobs that exited without a result, since the last retry")
    at_risk: bool = Field(description="it will miss its deadline, or has missed it")
    cancelling: bool
    created_at: datetime
    started_at: datetime | None = Field(description="of the latest attempt")
    finished_at: datetime | None
    deadline_at: datetime | None
    pid: int | None
    deferred_from: str | None = Field(description="the output whose deferred chunks joined this run")
    errors: list[str]
    progress: Progress | None = Field(description="the latest report of the job")
    model: ModelId | None
    data_checksum: str | None
    trial_report: dict[str, float] | None = Field(description="feature and confidence drift")

    def is_overdue(self, now: datetime) -> bool:
        """Whether the deadline has passed."""
        return self.deadline_at is not None and now > self.deadline_at


class RetryRequest(BaseModel):
    """How a run is retried."""

    model_config = ConfigDict(extra="forbid")

    retry: Retry | None = Field(
        None,
        description="all; partial: missing chunks; none: finish it, the next run gets the missing chunks",
        examples=["partial"],
    )
