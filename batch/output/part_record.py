"""What the manifest says of the results of a chunk: counts and checksums."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import BaseModel

from batch.dataset.dataset import REJECTED, Chunk, part_file


class PartRecord(BaseModel):
    """Rows that came out of a chunk, rows that were rejected, and the SHA-256 of both files."""

    name: str
    rows_in: int
    rows_out: int
    rejected: int
    sha256: str
    rejected_sha256: str | None = None


def measure_part(output: Path, chunk: Chunk) -> PartRecord:
    """The record of a part that exists. Raises OSError, or pyarrow's error, if a file cannot be read."""
    part = part_file(output, chunk)
    rejected = output / REJECTED / part.name
    has_rejected = rejected.exists()
    return PartRecord(
        name=chunk.name,
        rows_in=chunk.rows,
        rows_out=pq.read_metadata(part).num_rows,
        rejected=pq.read_metadata(rejected).num_rows if has_rejected else 0,
        sha256=_sha256(part),
        rejected_sha256=_sha256(rejected) if has_rejected else None,
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
