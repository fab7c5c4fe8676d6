"""Folders that a process writes into: where it cannot, one line at start says what to set."""

from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

from pydantic import BeforeValidator


def _refuse_address(path: str | Path) -> str | Path:
    if not str(path):
        raise ValueError("expected a path on this machine, got nothing")
    if "://" in str(path) or str(path).startswith("file:"):
        raise ValueError("expected a path on this machine, got an address")
    if str(path) == ":memory:":
        raise ValueError("expected a path on this machine, got SQLite's name for no file")
    return path


LocalPath = Annotated[Path, BeforeValidator(_refuse_address)]
"""A path in the settings; `postgres://…` or `s3://…` would make a folder of that name."""


def require_writable(folder: Path, advice: str) -> None:
    """Make the folder if it is not there; ends the process, with the advice, if nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SystemExit(f"cannot start: nothing can be written into {folder} ({error.strerror}): {advice}") from None
