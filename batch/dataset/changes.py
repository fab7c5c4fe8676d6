"""Whether the files of a run are still those that were planned: while a chunk is read, and at the end of the run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date

import pyarrow.parquet as pq

from batch.dataset.dataset import Chunk, DataSet
from batch.dataset.files import DataError, FileVersion, list_files, open_file, read_fingerprint, read_version

CHANGED = "the file has changed, or is gone, since the run was planned: retry the run, which reads it as it is now"
ADDED = "the file was added since the run was planned: retry the run, which reads it too"


class FileChanged(Exception):
    """A file is not the one that was planned."""


@contextmanager
def open_planned(chunk: Chunk) -> Iterator[pq.ParquetFile]:
    """The file of a chunk. Raises `FileChanged` if it is another, at the beginning or at the end of the block.

    The inode is compared only with what this process itself has seen: another machine may see another one.
    """
    before = read_version(chunk.file)
    with open_file(chunk.file) as source:
        if _without_identity(before) != _without_identity(chunk.version):
            raise FileChanged(CHANGED)
        try:
            if read_fingerprint(chunk.file) != chunk.fingerprint:
                raise FileChanged(CHANGED)
            yield source
        finally:  # also after an error, whose reason it may be
            if read_version(chunk.file) != before:
                raise FileChanged(CHANGED)


def find_changed_files(data: DataSet) -> set[str]:
    """The files of a data set that are gone or have changed since it was planned."""
    return {file for file, version in data.files.items() if read_version(file) != version}


def find_added_files(data: DataSet, inputs: Sequence[str], first: date | None, last: date | None) -> list[str]:
    """The files that would be planned now, and were not then."""
    with suppress(DataError):  # the folder is gone, and with it all files
        return [file for file in list_files(inputs, first, last) if file not in data.files]
    return []


def _without_identity(version: FileVersion | None) -> tuple[int, int | None] | None:
    return (version.size, version.mtime_ns) if version else None
