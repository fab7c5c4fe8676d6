"""The data set of a run: Parquet files, split into chunks of row groups.

A chunk is named after its file, not after its position, so that added or removed files do not change other names. A
file that cannot be read is a chunk too: only that chunk fails.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

READ_BYTES = 2**21
"""Read a column in pieces of this size; else a whole row group would be in memory, however large it is."""
PARTITION = re.compile(r"(?:^|/)date=(\d{4}-\d{2}-\d{2})(?:/|$)")


REJECTED = "_rejected"
"""The folder beside the results for rows that are not pictures."""


class DataError(Exception):
    """The data set cannot be used; the message says what was expected."""


class Chunk(BaseModel):
    """Some row groups of one file. `fingerprint` changes with the file; `None`: the file could not be read."""

    model_config = ConfigDict(frozen=True)

    name: str
    file: str
    fingerprint: str | None
    row_groups: tuple[int, ...]
    rows: int


def part_file(output: Path, chunk: Chunk) -> Path:
    """The file with a chunk's results."""
    return output / f"part-{chunk.name}.parquet"


class DataSet(BaseModel):
    """All chunks of a run, in order of file and row group."""

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
    each file and may raise. Raises `DataError` if there is no file.
    """
    files = [file for source in map(_normalize, inputs) for file in _files(source) if _is_within(file, first, last)]
    if not files:
        where = f" between {first or '…'} and {last or '…'}" if first or last else ""
        raise DataError(f"{', '.join(inputs)}: expected Parquet files (*.parquet){where}, found none")
    data = DataSet(chunks=[])
    for file in dict.fromkeys(files):
        check_stop()
        data.chunks += _chunks(file, chunk_rows)
    return data


def open_file(path: str) -> pq.ParquetFile:
    """A Parquet file at a path or URI."""
    filesystem, inner = _filesystem(path)
    return pq.ParquetFile(filesystem.open_input_file(inner), pre_buffer=False, buffer_size=READ_BYTES)


def _filesystem(path: str) -> tuple[Any, str]:
    if "://" in path:
        filesystem, inner = pafs.FileSystem.from_uri(path)
        return filesystem, inner
    return pafs.LocalFileSystem(), path


def _normalize(source: str) -> str:
    """One name for each local file, so that none is read twice."""
    path = source.removeprefix("file://")
    return path if "://" in path else str(Path(path).resolve())


def _files(source: str) -> list[str]:
    """The Parquet files of a folder, sorted, or the one file."""
    try:
        filesystem, inner = _filesystem(source)
        info = filesystem.get_file_info(inner)
        if info.type == pafs.FileType.NotFound:
            raise DataError(f"{source}: there is no such file or folder")
        if info.type == pafs.FileType.File:
            return [source]
        found = [one.path for one in filesystem.get_file_info(pafs.FileSelector(inner, recursive=True)) if one.is_file]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{source}: {error}") from None
    prefix = source[: source.index(inner)] if "://" in source and inner in source else ""
    return sorted(prefix + path for path in found if path.endswith(".parquet") and not _is_hidden(path, inner))


def _is_hidden(path: str, folder: str) -> bool:
    """As for Spark and Dask, names that begin with `_` or `.` are not data."""
    return any(part.startswith(("_", ".")) for part in PurePosixPath(path.removeprefix(folder)).parts)


def _is_within(file: str, first: date | None, last: date | None) -> bool:
    if first is None and last is None:
        return True
    found = PARTITION.search(file)
    try:
        return found is not None and (first or date.min) <= date.fromisoformat(found[1]) <= (last or date.max)
    except ValueError:  # 2026-02-30
        return False


def _chunks(file: str, chunk_rows: int) -> Iterator[Chunk]:
    stem = hashlib.sha256(file.encode()).hexdigest()[:12]
    try:
        with open_file(file) as source:
            metadata = source.metadata
            fingerprint = hashlib.sha256(repr(metadata.to_dict()).encode()).hexdigest()[:16]
            sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    except (OSError, pa.ArrowException):
        yield Chunk(name=f"{stem}-0000", file=file, fingerprint=None, row_groups=(), rows=0)
        return
    for number, groups in enumerate(_group(sizes, chunk_rows)):
        rows = sum(sizes[group] for group in groups)
        name = f"{stem}-{number:04d}"
        yield Chunk(name=name, file=file, fingerprint=fingerprint, row_groups=tuple(groups), rows=rows)


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
