"""The command line of a job. Each option is declared once, as a field of `JobOptions`."""

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

from pydantic import BaseModel, Field, field_validator

from common.service.masking import mask_urls

Engine = Literal["local", "dask", "spark"]
Retry = Literal["all", "partial", "none"]
OnDeadline = Literal["stop", "finish"]


class JobOptions(BaseModel):
    """What one run processes, and how."""

    input: list[str] = Field(min_length=1, description="folder, file or URI; repeatable")
    output: Path = Field(description="folder")
    engine: Engine = Field("local", description="where chunks are processed")
    retry: Retry = Field("partial", description="chunks to process in an unfinished output: all, missing ones, none")
    first: date | None = Field(None, description="the first partition date=YYYY-MM-DD")
    last: date | None = Field(None, description="the last partition date=YYYY-MM-DD")
    deferred_from: Path | None = Field(None, description="an output whose deferred chunks join this run")
    deadline_seconds: float | None = Field(None, gt=0, description="from the start of this attempt")
    on_deadline: OnDeadline = Field("stop", description="what happens at the deadline")
    trial: bool = Field(False, description="one chunk, nothing is published")

    @field_validator("output", mode="before")
    @classmethod
    def _require_folder(cls, output: str | Path) -> str | Path:
        if "://" in str(output):
            raise ValueError(f"--output: expected a folder, got the address {output}: copy the finished folder there")
        return output


class MaskingParser(argparse.ArgumentParser):
    """A parser whose errors, which repeat the arguments, hide the secrets of URLs; so do those of its commands."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with 2."""
        super().error(mask_urls(message))


def parse_arguments(arguments: Sequence[str]) -> JobOptions | Path:
    """The options of `python -m batch.job run …`, or the folder of `verify DIR`. A wrong command line exits with 2."""
    parser = MaskingParser(prog="python -m batch.job", description="Predicts a data set.")
    commands = parser.add_subparsers(required=True)
    commands.add_parser("verify", help="count a finished output again").add_argument("verify", type=Path)
    run = commands.add_parser("run", help="run a job, or resume one")
    for name, field in JobOptions.model_fields.items():
        how: dict[str, Any] = {"help": field.description, "required": field.is_required(), "default": None}
        if field.annotation is bool:
            how = {"help": field.description, "action": "store_true"}
        elif get_origin(field.annotation) is list:
            how |= {"action": "append", "default": None}
        elif get_origin(field.annotation) is Literal:
            how |= {"choices": get_args(field.annotation)}
        run.add_argument(f"--{name.replace('_', '-')}", **how)
    parsed = vars(parser.parse_args(arguments))
    if isinstance(folder := parsed.get("verify"), Path):
        return folder
    given = {name: value for name, value in parsed.items() if value is not None}
    try:
        return JobOptions.model_validate(given)
    except ValueError as error:
        parser.error(str(error))
