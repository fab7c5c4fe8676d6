"""The output folder of a run: parts, and the state of the run in files whose names begin with `_` or `.`.

A part that exists is complete: to resume a run is to process the chunks whose part is missing. `_SUCCESS` is written
last. Every file appears by a rename. The lock is released when its process exits.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar

import pyarrow.parquet as pq
from pydantic import BaseModel, TypeAdapter, ValidationError

from batch.command_line import JobOptions
from batch.dataset.dataset import REJECTED, Chunk, DataSet, part_file
from batch.output.durable import flush, make_folder, publish
from batch.output.foreign_files import find_unbegun, require_apart, require_named
from batch.output.lock import acquire, is_held
from batch.output.names import DEFERRED, FAILED_CHUNKS, LOCK, MANIFEST, PROGRESS, SUCCESS, TRIAL, is_temporary
from batch.output.part_record import PartRecord, measure_part
from batch.output.progress import ModelId, Progress
from batch.output.refusals import ModelMismatch, OutputInUse, OutputRefused, cannot_write, writing_into

T = TypeVar("T")
_chunks, _names = TypeAdapter(list[Chunk]), TypeAdapter(list[str])
OVERLOADED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)
"""Errors that say nothing of the file: the next attempt may open it."""


class Manifest(BaseModel):
    """Inputs, model and chunks of an output."""

    inputs: list[str]
    first: date | None = None
    last: date | None = None
    model: ModelId
    data_checksum: str
    chunks: list[Chunk]
    parts: list[PartRecord] = []
    """Of a finished output: one for each chunk that is not deferred."""


class OutputFolder:
    """The output folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock: no other job writes here. Raises `OutputInUse`, `OutputNotWritable`."""
        with writing_into(self.path):
            make_folder(self.path)
            lock = (self.path / LOCK).open("ab+", buffering=0)
        with lock:
            if not acquire(lock):
                lock.seek(0)
                raise OutputInUse(f"{self.path}: process {lock.read().decode().strip() or '?'} has its lock")
            with writing_into(self.path):
                lock.truncate(0)
                lock.write(str(os.getpid()).encode())
            yield

    @property
    def is_locked(self) -> bool:
        """Whether a job holds the lock. If it cannot be opened, no: a job that starts cannot either, and says so."""
        try:
            return is_held(self.path / LOCK)
        except OSError as error:
            if error.errno in OVERLOADED:
                raise
            return False

    @property
    def is_finished(self) -> bool:
        """Whether the output is complete."""
        return (self.path / SUCCESS).exists()

    def require_own(self) -> None:
        """Raise `OutputRefused` if others have written what is there, or if it cannot even be read."""
        try:
            found = find_unbegun(self.path)  # before the manifest: another job may begin at this moment
        except OSError as error:
            raise OutputRefused(cannot_write(self.path, error)) from None
        if found and self.read_manifest() is None:
            why = f"holds {found} and no {MANIFEST}, so others have written it"
            raise OutputRefused(f"--output {self.path}: it {why}: name another folder")

    def begin(self, options: JobOptions, model: ModelId, data: DataSet) -> list[Chunk]:
        """Write the manifest; returns the chunks to process.

        Parts of the same rows stay, except with `--retry all`. Raises `ModelMismatch`, `OutputRefused`.
        """
        before, everything = self.read_manifest(), options.retry == "all"
        if before and before.model.sha256 != model.sha256 and not everything:
            first, now = (f"{each.name} {each.version}" for each in (before.model, model))
            raise ModelMismatch(f"{self.path} was begun with the model {first}, now it is {now}: use --retry all")
        begun = before.chunks if before else []
        require_apart(self.path, data.files)
        require_named(self.path, {part_file(self.path, chunk).name for chunk in begun})
        kept = set() if everything else {chunk.name for chunk in set(begun) & set(data.chunks)}
        self.remove_parts(chunk for chunk in begun if chunk.name not in kept)
        self.remove_temporary_files()
        manifest = Manifest(
            inputs=options.input,
            first=options.first,
            last=options.last,
            model=model,
            data_checksum=data.checksum,
            chunks=data.chunks,
        )
        self._write(MANIFEST, manifest.model_dump_json())
        return self.find_missing(data.chunks)

    def read_manifest(self) -> Manifest | None:
        """The manifest; None if no job has begun. Raises `OutputRefused`, as all that read but progress."""
        return self._read(MANIFEST, TypeAdapter(Manifest))

    def read_progress(self) -> Progress | None:
        """The latest progress; None if no job has begun."""
        try:
            return Progress.model_validate_json((self.path / PROGRESS).read_bytes())
        except FileNotFoundError:
            return None

    def write_progress(self, progress: Progress) -> None:
        """Report progress."""
        progress.updated_at = datetime.now(UTC)
        self._write(PROGRESS, progress.model_dump_json())

    def find_missing(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        """The chunks whose part is missing."""
        return [chunk for chunk in chunks if not part_file(self.path, chunk).exists()]

    def write_failed(self, names: list[str]) -> None:
        """Record the names of chunks that failed in this attempt."""
        self._write(FAILED_CHUNKS, _names.dump_json(names).decode())

    def read_failed(self) -> set[str]:
        """The names of chunks that failed in the latest attempt."""
        names = self._read(FAILED_CHUNKS, _names)
        return set(names or [])

    def count_rejected_rows(self) -> int:
        """Rejected rows of the parts that exist."""
        files = [file for file in (self.path / REJECTED).glob("part-*.parquet") if (self.path / file.name).exists()]
        return sum(pq.read_metadata(file).num_rows for file in files)

    def write_deferred(self, chunks: list[Chunk]) -> None:
        """Defer these chunks to the next run."""
        self._write(DEFERRED, _chunks.dump_json(chunks).decode())

    def read_deferred(self) -> list[Chunk]:
        """The chunks that this run has deferred."""
        return self._read(DEFERRED, _chunks) or []

    def finish(self, progress: Progress, chunks: list[Chunk]) -> None:
        """Count the parts of these chunks into the manifest and write `_SUCCESS`: the output is on the disk."""
        if manifest := self.read_manifest():
            manifest.chunks, missing = chunks, {chunk.name for chunk in self.find_missing(chunks)}
            manifest.parts = [measure_part(self.path, chunk) for chunk in chunks if chunk.name not in missing]
            self._write(MANIFEST, manifest.model_dump_json())
        for folder in (self.path, self.path / REJECTED):
            if folder.is_dir():
                flush(folder)
        self._write(SUCCESS, progress.model_dump_json())

    def describe(self) -> str:
        """The counts of a finished output, in a line."""
        manifest = self.read_manifest()
        parts, deferred = manifest.parts if manifest else [], sum(chunk.rows for chunk in self.read_deferred())
        rows_out, rejected = sum(part.rows_out for part in parts), sum(part.rejected for part in parts)
        total = sum(part.rows_in for part in parts) + deferred
        counts = f"{total:,} rows in: {rows_out:,} out, {rejected:,} rejected, {deferred:,} deferred"
        return f"verified: {counts}; {len(parts)} parts"

    def write_trial(self, progress: Progress) -> None:
        """Write the report of a trial."""
        with writing_into(self.path):
            make_folder(self.path)
        self._write(TRIAL, progress.model_dump_json())

    def remove_parts(self, chunks: Iterable[Chunk]) -> None:
        """Take back the results of these chunks."""
        for chunk in chunks:
            part = part_file(self.path, chunk)
            for file in (part, self.path / REJECTED / part.name):
                file.unlink(missing_ok=True)

    def remove_temporary_files(self) -> None:
        """Remove the temporary files of killed processes."""
        for folder in (self.path, self.path / REJECTED):
            for file in folder.glob(".*"):
                if is_temporary(file.name):
                    file.unlink(missing_ok=True)

    def _read(self, name: str, kind: TypeAdapter[T]) -> T | None:
        file = self.path / name
        try:
            return kind.validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not what a job writes there"
            raise OutputRefused(f"{file} cannot be read ({why}): use another output") from None

    def _write(self, name: str, text: str) -> None:
        temporary = self.path / f".{name}.{os.getpid()}"
        with writing_into(self.path):
            try:
                temporary.write_text(text)
                publish(temporary, self.path / name)
            finally:
                temporary.unlink(missing_ok=True)
