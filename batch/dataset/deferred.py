"""Chunks that an earlier run has deferred join this one: as they were planned, or as their file is now."""

from batch.dataset.dataset import Chunk, DataSet, plan
from batch.dataset.files import DataError


def add_deferred_chunks(data: DataSet, deferred: list[Chunk], chunk_rows: int) -> None:
    """Add the chunks that an earlier run has deferred, unless their file is read anyway."""
    files = {chunk.file for chunk in deferred} - {chunk.file for chunk in data.chunks}
    for file in sorted(files):
        data.chunks += refresh_chunks([chunk for chunk in deferred if chunk.file == file], chunk_rows)


def refresh_chunks(chunks: list[Chunk], chunk_rows: int) -> list[Chunk]:
    """Chunks of one file; all chunks of the file if it has changed since they were planned, or was unreadable then."""
    try:
        current = plan([chunks[0].file], chunk_rows).chunks
    except DataError:
        return chunks  # the file is gone: only these chunks fail again
    if {chunk.fingerprint for chunk in current} != {chunk.fingerprint for chunk in chunks}:
        return current
    return [chunk.model_copy(update={"version": current[0].version}) for chunk in chunks]
