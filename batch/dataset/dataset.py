"""The data set of a run: Parquet files, split into chunks of row groups.

A chunk is named after its file, not after its position, so that added or removed files do not change other names. A
file that cannot be read is a chunk too: only that chunk fails.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from batch.dataset.column_types import require_columns
from batch.dataset.files import DataError, FileVersion, list_files, open_file, read_fingerprint, read_version

REJECTED = "_rejected"
"""The folder beside the results for rows that are not pictures."""


class Chunk(BaseModel):
    """Some row groups of one file. `fingerprint` is that of its footer; `None`: the file could not be read."""

    model_config = ConfigDict(frozen=True)

    name: str
    file: str
    fingerprint: str | None
    version: FileVersion | None = None
    row_groups: tuple[int, ...]
    rows: int


def part_file(output: Path, chunk: Chunk) -> Path:
    """The file with a chunk's results."""
    return output / f"part-{chunk.name}.parquet"


class DataSet(BaseModel):
    """All chunks of a run, in order of file and row group, and the files: one without row groups has no chunk."""

    files: dict[str, FileVersion | None]
    chunks: list[Chunk]

    @property
    def rows(self) -> int:
        """Rows of all chunks."""
        return sum(chunk.rows for chunk in self.chunks)

    @property
    def checksum(self) -> str:
        """SHA-256 over the footers of all files: differs for different data."""
        lines = sorted({f"{chunk.file} {chunk.fingerprint}" for chunk in self.chunks})
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def plan(
    inputs: Sequence[str],
    chunk_rows: int,
    first: date | None = None,
    last: date | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> DataSet:
    """The chunks of these files and folders (paths, or URIs that pyarrow knows), of about `chunk_rows` rows each.

    `first` and `last`: only the partitions `date=YYYY-MM-DD` in this range, both included. `check_stop` is called for
    each file and may raise. Raises `DataError` if there is no file, or the domain's fields cannot be columns.
    """
    require_columns()
    files = list_files(inputs, first, last)
    if not files:
        where = f" between {first or '…'} and {last or '…'}" if first or last else ""
        raise DataError(f"{', '.join(inputs)}: expected Parquet files (*.parquet){where}, found none")
    data = DataSet(files={}, chunks=[])
    for file in files:
        check_stop()
        data.files[file] = version = read_version(file)
        data.chunks += split(file, version, chunk_rows)
    return data


def split(file: str, version: FileVersion | None, chunk_rows: int) -> Iterator[Chunk]:
    """The chunks of one file."""
    stem = hashlib.sha256(file.encode()).hexdigest()[:12]
    try:
        with open_file(file) as source:
            sizes = [source.metadata.row_group(number).num_rows for number in range(source.num_row_groups)]
        fingerprint = read_fingerprint(file)
    except Exception:  # whatever other tools have written, only this file fails: with the reason, when it is processed
        yield Chunk(name=f"{stem}-0000", file=file, fingerprint=None, version=version, row_groups=(), rows=0)
        return
    for number, groups in enumerate(_group(sizes, chunk_rows)):
        yield Chunk(
            name=f"{stem}-{number:04d}",
            file=file,
            fingerprint=fingerprint,
            version=version,
            row_groups=tuple(groups),
            rows=sum(sizes[group] for group in groups),
        )


def _group(sizes: Sequence[int], max_rows: int) -> Iterator[list[int]]:
    """Lists of consecutive row groups with at most `max_rows` rows; a larger row group is not split."""
    groups: list[int] = []
    rows = 0
    for number, size in enumerate(sizes):
        if groups and rows + size > max_rows:
            yield groups
            groups, rows = [], 0
        groups.append(number)
        rows += size
    if groups:
        yield groups
