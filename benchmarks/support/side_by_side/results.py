"""What `side_by_side.py` measures and `figure.py` draws, as it is kept in `benchmarks/results/side_by_side.json`."""

from enum import StrEnum
from pathlib import Path
from statistics import median

from pydantic import BaseModel, Field

FILE = Path(__file__).parents[2] / "results" / "side_by_side.json"


class Outcome(StrEnum):
    """What one caller gets by its deadline; the values are one letter each, so that a row of them is a string."""

    DIGIT = "d"
    """The digit, as if nothing had happened."""
    PARTIAL = "p"
    """An answer without the model that fails: a fallback, or the votes of the others."""
    ACCEPTED = "a"
    """A 202: the digit comes after the deadline, and the caller does not wait for it."""
    ERROR = "e"
    """An error by the deadline: a 4xx or 5xx, or a refused connection."""
    NOTHING = "n"
    """No answer by the deadline."""


class Speed(BaseModel):
    """One contestant, a figure for each round."""

    p50_ms: list[float] = Field(description="one caller at a time; of batch, a whole run over one digit")
    digits_per_second: list[float] = Field(description="32 callers; of batch, a whole run over many digits")


class Incident(BaseModel):
    """What callers got who came at a steady rate from a moment on, in the order in which they came."""

    outcomes: str = Field(description="a letter of `Outcome` for each caller")
    p50_ms: float | None = Field(description="of answers by the deadline that were not the digit; None if none was")
    lost: int = Field(description="accepted jobs whose digit never came")

    def share(self, *wanted: Outcome) -> float:
        """The share of the callers with one of these outcomes."""
        return sum(map(self.outcomes.count, wanted)) / len(self.outcomes)


class BatchKill(BaseModel):
    """What a second run found that was started after all processes of the first were killed."""

    rows: int
    rows_missing: int
    chunks: int
    chunks_kept: int


class Results(BaseModel):
    """All of one run, by the contestants' names."""

    machine: dict[str, str]
    warnings: list[str]
    date: str
    callers_per_second: int = Field(description="during an incident")
    deadline_ms: int
    slow_seconds: float
    rows: int = Field(description="of a batch run")
    speeds: dict[str, Speed] = {}
    slow: dict[str, Incident] = {}
    killed: dict[str, Incident] = {}
    batch_kill: BatchKill | None = None

    def ratio(self, name: str, figure: str, base: str = "minimal") -> float:
        """A figure of `Speed` relative to the base's in the same round: the median over the rounds."""
        pairs = zip(getattr(self.speeds[name], figure), getattr(self.speeds[base], figure), strict=False)
        return float(median(one / other for one, other in pairs))
