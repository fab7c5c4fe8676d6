"""Where an input lies on this machine. Without pyarrow, so that a command line is checked quickly."""

import os
from pathlib import Path
from urllib.parse import unquote


def local_path(source: str) -> Path | None:
    """Where an input lies on this machine, without links; None for a URI elsewhere."""
    path = source.removeprefix("file://")
    if "://" in path:
        return None
    if path != source and not Path(path).exists():
        path = unquote(path)  # as a URI is written
    return Path(os.path.realpath(path))
