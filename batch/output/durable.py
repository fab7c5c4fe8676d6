"""Files and folders that survive a power loss: content first, then the name, then the folder that holds the name."""

import os
from pathlib import Path


def publish(temporary: Path, file: Path) -> None:
    """Give a finished file its name. When this returns, content and name are on the disk."""
    flush(temporary)
    temporary.rename(file)
    flush(file.parent)


def make_folder(folder: Path) -> None:
    """Create a folder, and the folders above it, if they do not exist."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        flush(folder.parent)


def flush(path: Path) -> None:
    """Write what the kernel holds of a file, or of a folder's names, to the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
