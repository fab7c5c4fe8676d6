"""A host whose clock is off, by libfaketime."""

from pathlib import Path
from typing import Any


def shifted(offset: str) -> dict[str, Any]:
    """The settings of a process whose clock differs by so much; timers run as usual.

    Without the command `faketime`: it leaves a semaphore for each process id, and fails where an id comes again.
    """
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return {"ld_preload": library, "faketime": offset, "faketime_dont_fake_monotonic": "1"}
