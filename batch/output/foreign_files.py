"""Files in an output that others have written, and that a run would write or remove: the job refuses such an output."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import ValidationError

from batch.dataset.dataset import REJECTED
from batch.output.names import DEFERRED, FAILED_CHUNKS, LOCK, PARTS, PROGRESS, SUCCESS, TRIAL
from batch.output.progress import Progress
from batch.output.refusals import OutputRefused

AFTER_MANIFEST = (FAILED_CHUNKS, DEFERRED, SUCCESS)
"""A job writes these, and parts, only when it has written the manifest."""


def find_unbegun(output: Path) -> str | None:
    """The name of a file that is not of a job, if no job has written a manifest there. Raises OSError."""
    for folder in (output, output / REJECTED):
        if folder.exists():
            for file in folder.iterdir():
                if fnmatchcase(file.name, PARTS) or (folder == output and not _may_be_ours(file)):
                    return file.name
    return None


def _may_be_ours(file: Path) -> bool:
    """Lock and progress are there before the manifest: of a job that was killed, or that could not begin."""
    if file.name in (PROGRESS, TRIAL):
        try:
            Progress.model_validate_json(file.read_bytes())
        except ValidationError:
            return False
        except FileNotFoundError:  # the manager removes that of an earlier attempt
            return True
    if file.name == LOCK:
        content = file.read_bytes().strip()
        return not content or content.isdigit()
    return file.name not in AFTER_MANIFEST


def require_named(output: Path, named: set[str]) -> None:
    """Raise `OutputRefused` for a part that is not among those that the manifest names."""
    for folder in (output, output / REJECTED):
        for part in sorted(folder.glob(PARTS)):
            if part.name not in named:
                why = f"holds {part.relative_to(output)}, which its manifest does not name"
                raise OutputRefused(f"--output {output}: it {why}: move that elsewhere, or name another folder")


def require_apart(output: Path, files: Iterable[str]) -> None:
    """Raise `OutputRefused` for an input file that lies inside the output, also where a link leads to it."""
    folder = output.resolve()
    for file in files:
        if "://" not in file and Path(file).resolve().is_relative_to(folder):
            raise OutputRefused(f"--output {output}: the input {file} lies inside it: name another folder")
