"""Why a job cannot have an output; the message says it. A job that is refused an output changes nothing in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class OutputInUse(Exception):
    """Another job has the lock of this output."""


class OutputNotWritable(OSError):
    """No job can write into this output."""


class OutputRefused(Exception):
    """The output holds something that no job has written there."""


class ModelMismatch(Exception):
    """The output was begun with another model."""


@contextmanager
def writing_into(output: Path) -> Iterator[None]:
    """Raise an OSError of the block as `OutputNotWritable`, with a sentence that names the folder."""
    try:
        yield
    except OutputNotWritable:
        raise
    except OSError as error:
        raise OutputNotWritable(cannot_write(output, error)) from None


def cannot_write(output: Path, error: OSError) -> str:
    """The sentence about a folder in which nothing can be written."""
    return f"--output {output}: nothing can be written there ({error.strerror or error}): name another folder"
