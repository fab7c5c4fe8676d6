"""What one run is about: the command line of a job."""

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

Engine = Literal["local", "dask", "spark"]
Retry = Literal["all", "partial", "none"]


class Options(BaseModel):
    """What one run is about."""

    inputs: list[str] = Field(min_length=1)
    output: Path
    engine: Engine = "local"
    retry: Retry = Field("partial", description="which chunks an unfinished output gets: all, those not there, none")
    first: date | None = Field(None, description="the first partition date=YYYY-MM-DD")
    last: date | None = Field(None, description="the last one")
    carry_over_from: Path | None = Field(None, description="an output whose failed chunks join this run")
    deadline_seconds: float | None = Field(None, gt=0, description="from the start of this attempt")
    on_deadline: Literal["stop", "finish"] = Field("stop", description="what happens at the deadline")
    trial: bool = Field(False, description="one chunk, and nothing is published")


def parsed(arguments: Sequence[str]) -> Options:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m batch.job", description="Reads a data set, predicts it, writes the answers."
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("run", help="run a job, or go on with one")
    one.add_argument("--input", dest="inputs", action="append", required=True, help="folder, file or URI; repeatable")
    one.add_argument("--output", required=True, help="folder")
    one.add_argument("--engine", choices=["local", "dask", "spark"], default="local")
    one.add_argument("--retry", choices=["all", "partial", "none"], default="partial")
    one.add_argument("--first", metavar="YYYY-MM-DD", help="the first partition date=…")
    one.add_argument("--last", metavar="YYYY-MM-DD", help="the last partition date=…")
    one.add_argument("--carry-over-from", metavar="DIR", help="an output whose failed chunks join this run")
    one.add_argument("--deadline-seconds", type=float)
    one.add_argument("--on-deadline", choices=["stop", "finish"], default="stop")
    one.add_argument("--trial", action="store_true", help="one chunk; nothing is published")
    try:
        return Options.model_validate(vars(parser.parse_args(arguments)))
    except ValueError as error:
        parser.error(str(error))
