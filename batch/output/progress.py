"""The progress of a run, as its job reports it in `_progress.json`, `_SUCCESS` and `_trial.json`."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field, computed_field

Ending = Literal["done", "failed", "cancelled", "late"]
Status = Literal["running", Ending]


class ModelId(BaseModel):
    """The model of a run."""

    name: str
    version: str
    sha256: str


class Progress(BaseModel):
    """The progress of a run."""

    status: Status = "running"
    engine: str
    rows: int = Field(0, description="processed rows, those of earlier attempts included")
    rows_total: int
    rejected: int = 0
    deferred: int = Field(0, description="rows that are left to the next run: with `retry` none")
    chunks: int = 0
    chunks_total: int
    failed_chunks: int = 0
    rows_per_second: float = Field(0.0, description="of this attempt")
    eta_seconds: float | None = None
    at_risk: bool = Field(False, description="at this rate it will miss its deadline")
    deadline: datetime | None = None
    started_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    finished_at: datetime | None = None
    errors: list[str] = Field(default_factory=list, description="of the first chunks that failed")
    model: ModelId | None = None
    data_checksum: str | None = None
    trial: dict[str, float] | None = Field(None, description="feature and confidence drift, of a trial")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rows_out(self) -> int:
        """Rows with a result; in a run that is done, with `rejected` and `deferred` they are `rows_total`."""
        return self.rows - self.rejected
