"""What the manager is told and what it tells: schedules and runs, as JSON has them."""

from datetime import date, datetime
from itertools import islice, pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from batch.command_line import Engine, Retry
from batch.output.progress import ModelId, Progress
from batch.scheduling.cron import CatchUp, Rule, fill_template

State = Literal["queued", "running", "done", "failed", "cancelled", "late"]
OPEN: tuple[State, ...] = ("queued", "running")
YEAR = 366 * 86_400

PathText = Annotated[str, Field(min_length=1, max_length=1_000)]
Paths = Annotated[
    list[PathText],
    BeforeValidator(lambda given: [given] if isinstance(given, str) else given, json_schema_input_type=str | list[str]),
    Field(min_length=1, max_length=1_000),
]
Seconds = Annotated[float, Field(gt=0, le=YEAR, allow_inf_nan=False)]


class Work(BaseModel):
    """What runs and schedules have in common."""

    model_config = ConfigDict(extra="forbid")

    input: Paths = Field(description="folders or files inside DATA_ROOT", examples=["scans"])
    output: PathText = Field(description="a folder inside DATA_ROOT", examples=["readings"])
    engine: Engine = "local"
    retry: Retry = Field("partial", description="what a run that is taken up again does: all, what failed, nothing")
    deadline_seconds: Seconds | None = Field(None, description="from the moment it is asked for, waiting included")
    on_deadline: Literal["stop", "finish"] = Field("stop", description="at the deadline")


class RunForm(Work):
    """A run that is asked for."""

    first: date | None = Field(None, description="the first partition date=YYYY-MM-DD")
    last: date | None = Field(None, description="the last one")
    trial: bool = Field(False, description="one chunk, and nothing is published")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first and self.last and self.first > self.last:
            raise ValueError(f"expected first <= last, got {self.first} and {self.last}")
        return self

    def in_place(self) -> Self:
        """A trial has a place of its own, apart from the answers; the underscore says that it is no data."""
        return self.model_copy(update={"output": f"{self.output}/_trial"}) if self.trial else self


class ScheduleForm(Work):
    """A schedule that is asked for. Input and output are templates, with `{date}` and `{time}` of the due time."""

    name: str = Field(min_length=1, max_length=100, examples=["nightly"])
    rule: str = Field(max_length=200, description="hourly, daily, weekly, monthly or a cron line", examples=["daily"])
    time_zone: str = Field("UTC", max_length=100, examples=["Europe/Berlin"])
    output: PathText = Field(description="one for each due time", examples=["readings/{date}"])
    interval: int | None = Field(
        None, ge=1, le=3_660, description="so many whole days before the due date, as partitions date=YYYY-MM-DD"
    )
    overlap: Literal["forbid", "allow"] = Field(
        "forbid", description="due while a run of it is open: forbid, it is left out; allow, it is run as well"
    )
    catch_up: CatchUp = Field("latest", description="of what was missed while the manager was away")
    misfire_seconds: float = Field(60.0, ge=0, le=86_400, description="so late it is still no miss")
    trial_rule: str | None = Field(None, max_length=200, description="when a trial run of the same input is made")

    @model_validator(mode="after")
    def _can_come_due(self) -> Self:
        rule = Rule(self.rule, self.time_zone)
        if self.trial_rule is not None:
            Rule(self.trial_rule, self.time_zone)
        for template in (*self.input, self.output):
            if {"{", "}"} & {*template.replace("{date}", "").replace("{time}", "")}:
                raise ValueError(f"expected {{date}} and {{time}} as the only braces, got {template!r:.80}")
        some = list(islice(rule.due_times(datetime.fromisoformat("2026-01-01T00:00Z")), 50))
        for before, due in pairwise(some):
            if (output := fill_template(self.output, due, rule.zone)) == fill_template(self.output, before, rule.zone):
                raise ValueError(
                    f"output: two due times would share {output}: expected {{date}}, perhaps also {{time}}"
                )
            between = (due - before).total_seconds()
            if self.overlap == "forbid" and (self.deadline_seconds or 0) > between:
                raise ValueError(
                    f"deadline_seconds: expected at most {between:.0f}, when it is due again (overlap=forbid)"
                )
        return self


class Schedule(ScheduleForm):
    """A schedule as it is kept."""

    id: str
    created_at: datetime
    next_due: datetime | None
    next_trial: datetime | None
    left_out: str | None = Field(None, description="the latest due times that were not run, and why")
    last_run: "Run | None" = None


class Run(Work):
    """A run as it is kept. Paths are relative to DATA_ROOT."""

    id: str
    schedule_id: str | None
    due_at: datetime | None
    state: State
    trial: bool
    first: date | None
    last: date | None
    attempts: int = Field(description="jobs that were started for it")
    deaths: int = Field(description="of them, those that ended without a word")
    at_risk: bool = Field(description="it will miss its deadline, or has missed it")
    cancelling: bool
    created_at: datetime
    started_at: datetime | None = Field(description="of the latest attempt")
    finished_at: datetime | None
    deadline_at: datetime | None
    pid: int | None
    carry_over_from: str | None = Field(description="the output whose failed chunks joined this run")
    errors: list[str]
    progress: Progress | None = Field(description="as the job has last told")
    model: ModelId | None
    data_checksum: str | None
    trial_report: dict[str, float] | None = Field(description="how far data and scores have moved")


class RetryForm(BaseModel):
    """How a run is taken up again."""

    model_config = ConfigDict(extra="forbid")

    retry: Retry | None = Field(
        None, description="all; partial, what is not there; none, close it and leave that to the schedule's next run"
    )
