"""The Parquet files of a data set, local or at a URI that pyarrow knows: which there are, and in which version."""

import hashlib
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from batch.dataset.local_path import local_path

READ_BYTES = 2**21
"""Read a column in pieces of this size; else a whole row group would be in memory, however large it is."""
PARTITION = re.compile(r"(?:^|/)date=(\d{4}-\d{2}-\d{2})(?:/|$)")
DATA_NAME = re.compile(r"\.(parquet|pq|parq)(\.(gz|gzip|zst|zstd|snappy|lz4|br|bz2))?$", re.IGNORECASE)
TABLES = {
    "Delta Lake": re.compile(r"(^|/)_delta_log/[^/]+\.json$"),
    "Iceberg": re.compile(r"(^|/)metadata/[^/]+\.metadata\.json$"),
}
"""Formats whose folders also hold files of earlier versions, by the files of their metadata."""
MAGIC = b"PAR1"
TAIL_BYTES = 8
"""The end of a Parquet file: the length of its footer, and four letters."""


class DataError(Exception):
    """The data set cannot be used; the message says what was expected."""


class FileVersion(BaseModel):
    """Differs when a file is written again or replaced. `identity`: its inode, or its ETag in an object store."""

    model_config = ConfigDict(frozen=True)

    size: int
    mtime_ns: int | None
    identity: str


def list_files(inputs: Sequence[str], first: date | None, last: date | None) -> list[str]:
    """The files of these files and folders, each once, within these partitions. Raises `DataError`."""
    files = [file for source in map(_normalize, inputs) for file in _files(source) if _is_within(file, first, last)]
    return list(dict.fromkeys(files))


def open_file(path: str) -> pq.ParquetFile:
    """A Parquet file at a path or URI."""
    filesystem, inner = _filesystem(path)
    file = filesystem.open_input_file(inner)
    try:
        return pq.ParquetFile(file, pre_buffer=False, buffer_size=READ_BYTES)
    except pa.ArrowInvalid:
        if inner.lower().endswith(".gz") or file.read_at(2, 0) == b"\x1f\x8b":
            raise ValueError("expected a Parquet file, got one that is compressed as a whole: unpack it") from None
        raise


def read_version(path: str) -> FileVersion | None:
    """The version of a file as it is now; None if there is no such file."""
    try:
        if "://" not in path:
            stat = Path(path).stat()
            return FileVersion(size=stat.st_size, mtime_ns=stat.st_mtime_ns, identity=str(stat.st_ino))
        filesystem, inner = _filesystem(path)
        info = filesystem.get_file_info(inner)
        with filesystem.open_input_file(inner) as file:
            etag = (file.metadata() or {}).get("ETag", b"")
            return FileVersion(size=file.size(), mtime_ns=info.mtime_ns, identity=etag.decode(errors="replace"))
    except (OSError, pa.ArrowException):
        return None


def read_fingerprint(path: str) -> str:
    """A hash of the footer of a Parquet file. Its statistics are not decoded, since not every tool's can be."""
    filesystem, inner = _filesystem(path)
    with filesystem.open_input_file(inner) as file:
        size = file.size()
        length = int.from_bytes(file.read_at(4, size - TAIL_BYTES), "little")
        return hashlib.sha256(file.read_at(length + TAIL_BYTES, size - length - TAIL_BYTES)).hexdigest()[:16]


def _filesystem(path: str) -> tuple[Any, str]:
    if "://" in path:
        filesystem, inner = pafs.FileSystem.from_uri(path)
        return filesystem, inner
    return pafs.LocalFileSystem(), path


def _normalize(source: str) -> str:
    """One name for each local file, so that none is read twice."""
    path = local_path(source)
    return str(path) if path else source


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
    names = [path.removeprefix(inner).lstrip("/") for path in found]
    for table, metadata in TABLES.items():
        if any(map(metadata.search, names)):
            raise DataError(
                f"{source}: this is a table of {table}, whose folder also holds files of earlier versions: "
                "name its current files instead"
            )
    visible = [path for path in found if not _is_hidden(path, inner)]
    data = sorted(path for path in visible if DATA_NAME.search(path) or _has_magic(filesystem, path))
    return [_address(source, path.removeprefix(inner)) for path in data] if "://" in source else data


def _address(folder: str, name: str) -> str:
    """The URI of a file in a folder, whose options (`?region=…`) it keeps."""
    uri = urlsplit(folder)
    return uri._replace(path=f"{uri.path.rstrip('/')}/{quote(name.lstrip('/'), safe='/=')}").geturl()


def _has_magic(filesystem: Any, path: str) -> bool:
    """Whether a file without an extension is Parquet."""
    if "." in PurePosixPath(path).name:
        return False
    try:
        with filesystem.open_input_file(path) as file:
            return bool(file.read_at(len(MAGIC), 0) == MAGIC)
    except (OSError, pa.ArrowException):
        return True  # not skipped in silence: its chunk fails, and says why


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
