"""The output folder of a run: parts, and the state of the run in files whose names begin with `_` or `.`.

A part that exists is complete: to resume a run is to process the chunks whose part is missing. `_SUCCESS` is written
last. Every file appears by a rename. The lock is released when its process exits.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import BaseModel, TypeAdapter

from batch.command_line import JobOptions
from batch.dataset.dataset import REJECTED, Chunk, DataSet, part_file
from batch.output.durable import flush, make_folder, publish
from batch.output.lock import acquire, is_held
from batch.output.part_record import PartRecord, measure_part
from batch.output.progress import ModelId, Progress

MANIFEST, PROGRESS, TRIAL = "_manifest.json", "_progress.json", "_trial.json"
FAILED_CHUNKS, DEFERRED = "_failed.json", "_deferred.json"
SUCCESS, LOCK = "_SUCCESS", "_lock"
STATE_FILES = (MANIFEST, PROGRESS, FAILED_CHUNKS, DEFERRED, SUCCESS)
"""Written under the lock, which a trial does not take."""

_chunks, _names = TypeAdapter(list[Chunk]), TypeAdapter(list[str])


class OutputInUse(Exception):
    """Another job has the lock of this output."""


class OutputNotWritable(OSError):
    """No job can write into this output."""


class ModelMismatch(Exception):
    """The output was begun with another model."""


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
        try:
            make_folder(self.path)
            opened = (self.path / LOCK).open("a+")
        except OSError as error:
            reason = f"nothing can be written there ({error.strerror})"
            raise OutputNotWritable(f"--output {self.path}: {reason}: name another folder") from None
        with opened as lock:
            if not acquire(lock):
                lock.seek(0)
                raise OutputInUse(f"{self.path}: process {lock.read().strip() or '?'} has its lock")
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    @property
    def is_locked(self) -> bool:
        """Whether a job holds the lock."""
        return is_held(self.path / LOCK)

    @property
    def is_finished(self) -> bool:
        """Whether the output is complete."""
        return (self.path / SUCCESS).exists()

    def begin(self, options: JobOptions, model: ModelId, data: DataSet) -> list[Chunk]:
        """Write the manifest; returns the chunks to process.

        Parts of the same rows stay, except with `--retry all`. Raises `ModelMismatch`.
        """
        before, everything = self.read_manifest(), options.retry == "all"
        if before and before.model.sha256 != model.sha256 and not everything:
            begun, now = (f"{each.name} {each.version}" for each in (before.model, model))
            raise ModelMismatch(f"{self.path} was begun with the model {begun}, now it is {now}: use --retry all")
        kept = set(before.chunks) & set(data.chunks) if before and not everything else set()
        self._remove_other_parts({part_file(self.path, chunk).name for chunk in kept})
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
        """The manifest; None if no job has begun."""
        try:
            return Manifest.model_validate_json((self.path / MANIFEST).read_bytes())
        except FileNotFoundError:
            return None

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
        try:
            return set(_names.validate_json((self.path / FAILED_CHUNKS).read_bytes()))
        except FileNotFoundError:
            return set()

    def count_rejected_rows(self) -> int:
        """Rejected rows of the parts that exist."""
        files = [file for file in (self.path / REJECTED).glob("part-*.parquet") if (self.path / file.name).exists()]
        return sum(pq.read_metadata(file).num_rows for file in files)

    def write_deferred(self, chunks: list[Chunk]) -> None:
        """Defer these chunks to the next run."""
        self._write(DEFERRED, _chunks.dump_json(chunks).decode())

    def read_deferred(self) -> list[Chunk]:
        """The chunks that this run has deferred."""
        try:
            return _chunks.validate_json((self.path / DEFERRED).read_bytes())
        except FileNotFoundError:
            return []

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
            for file in folder.glob(".part-*.parquet.*"):
                file.unlink(missing_ok=True)

    def _remove_other_parts(self, kept: set[str]) -> None:
        """Remove parts of other rows, and temporary files of killed processes."""
        for folder in (self.path, self.path / REJECTED):
            temporary = [file for name in ("*.parquet", *STATE_FILES) for file in folder.glob(f".{name}.*")]
            for file in [*folder.glob("part-*.parquet"), *temporary]:
                if file.name not in kept:
                    file.unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        temporary = self.path / f".{name}.{os.getpid()}"
        try:
            with temporary.open("w") as file:
                file.write(text)
            publish(temporary, self.path / name)
        finally:
            temporary.unlink(missing_ok=True)
