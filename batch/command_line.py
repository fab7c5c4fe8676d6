"""The command line of a job. Each option is declared once, as a field of `JobOptions`."""

import argparse
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from batch.dataset.local_path import local_path
from common.service.masking import mask_urls

Engine = Literal["local", "dask", "spark"]
Retry = Literal["all", "partial", "none"]
OnDeadline = Literal["stop", "finish"]
DONE, FAILED, IN_USE, LATE, CANCELLED = 0, 1, 3, 4, 130
"""Exit codes; 2 is a wrong command line."""
FAILURE = "failed: "
"""So begins the last line of a job that cannot go on, and says why: another attempt would not help."""


class JobOptions(BaseModel):
    """What one run processes, and how."""

    input: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1, description="folder, file or URI; repeatable"
    )
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
            raise ValueError(f"expected a folder, got the address {output}: copy the finished folder there")
        if not str(output):
            raise ValueError("expected a folder such as readings, got an empty name")
        return output

    @field_validator("output")
    @classmethod
    def _require_apart(cls, output: Path, info: ValidationInfo) -> Path:
        """A run removes and adds files in its output: it must not be, contain or lie inside an input."""
        target = Path(os.path.realpath(output))
        for text in info.data.get("input", []):
            source = local_path(text)
            if source and (source == target or source in target.parents or target in source.parents):
                raise ValueError(f"expected a folder apart from the input {text}, got {output}")
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
    except ValidationError as error:
        run.error(f"\n{run.prog}: error: ".join(map(_describe, error.errors())))


def _describe(error: ErrorDetails) -> str:
    """A wrong option and why, as argparse words it."""
    is_ours = error["type"] == "value_error"  # ours say what they got
    message = error["ctx"]["error"] if is_ours else f"{error['msg']}, got {error['input']!r}"
    return f"argument --{str(error['loc'][0]).replace('_', '-')}: {message}"
