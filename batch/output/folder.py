"""What is known of a run, beside its output, in files whose names begin with `_` or `.`; nothing of it is elsewhere.

A chunk that is there is done: to go on after whatever happened is to do those that are not. `_SUCCESS` comes last.
Every file appears by a rename, and the lock dies with its process.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import BaseModel, TypeAdapter

from batch.command_line import Options
from batch.dataset.dataset import REJECTED, Chunk, DataSet, part_file
from batch.output.lock import is_held, take
from batch.output.progress import ModelId, Progress

MANIFEST, PROGRESS, TRIAL = "_manifest.json", "_progress.json", "_trial.json"
FAILED_CHUNKS, CARRIED_OVER = "_failed.json", "_carried_over.json"
SUCCESS, LOCK = "_SUCCESS", "_lock"
OF_A_JOB = (MANIFEST, PROGRESS, FAILED_CHUNKS, CARRIED_OVER, SUCCESS)
"""Written by who holds the lock; a trial does not."""

_chunks, _names = TypeAdapter(list[Chunk]), TypeAdapter(list[str])


class OutputInUse(Exception):
    """Another job works on this output."""


class OtherModel(Exception):
    """The output was begun with another model."""


class Manifest(BaseModel):
    """What the output comes from."""

    inputs: list[str]
    first: date | None = None
    last: date | None = None
    model: ModelId
    data_checksum: str
    chunks: list[Chunk]


class OutputFolder:
    """One run's output."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes here meanwhile; raises `OutputInUse`."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LOCK).open("a+") as lock:
            if not take(lock):
                lock.seek(0)
                raise OutputInUse(f"{self.path}: process {lock.read().strip() or '?'} works on it")
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    @property
    def is_locked(self) -> bool:
        """Whether a job works on it."""
        return is_held(self.path / LOCK)

    @property
    def is_finished(self) -> bool:
        """Whether it can be used."""
        return (self.path / SUCCESS).exists()

    def begin(self, options: Options, model: ModelId, data: DataSet) -> list[Chunk]:
        """Write down what this output comes from; gives the chunks that are to be done.

        Chunks that are there and come from the same rows stay, but for `--retry all`. Raises `OtherModel`.
        """
        before, anew = self.manifest(), options.retry == "all"
        if before and before.model.sha256 != model.sha256 and not anew:
            begun, now = (f"{one.name} {one.version}" for one in (before.model, model))
            raise OtherModel(f"{self.path} was begun with the model {begun}, now it is {now}: use --retry all")
        kept = set(before.chunks) & set(data.chunks) if before and not anew else set()
        self._tidy({part_file(self.path, chunk).name for chunk in kept})
        manifest = Manifest(
            inputs=options.inputs,
            first=options.first,
            last=options.last,
            model=model,
            data_checksum=data.checksum,
            chunks=data.chunks,
        )
        self._write(MANIFEST, manifest.model_dump_json())
        return self.missing(data.chunks)

    def manifest(self) -> Manifest | None:
        """What the output comes from, if it was ever begun."""
        try:
            return Manifest.model_validate_json((self.path / MANIFEST).read_bytes())
        except FileNotFoundError:
            return None

    def progress(self) -> Progress | None:
        """How far the run is, as its job has last said."""
        try:
            return Progress.model_validate_json((self.path / PROGRESS).read_bytes())
        except FileNotFoundError:
            return None

    def tell(self, progress: Progress) -> None:
        """Say how far the run is."""
        progress.updated_at = datetime.now(UTC)
        self._write(PROGRESS, progress.model_dump_json())

    def missing(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        """Those of them that are not there."""
        return [chunk for chunk in chunks if not part_file(self.path, chunk).exists()]

    def note_failed(self, names: list[str]) -> None:
        """These chunks were tried, and failed."""
        self._write(FAILED_CHUNKS, _names.dump_json(names).decode())

    def failed(self) -> set[str]:
        """The chunks that were tried in the latest attempt, and failed."""
        try:
            return set(_names.validate_json((self.path / FAILED_CHUNKS).read_bytes()))
        except FileNotFoundError:
            return set()

    def rejected_rows(self) -> int:
        """Rows that were set aside in the chunks that are there."""
        files = [file for file in (self.path / REJECTED).glob("part-*.parquet") if (self.path / file.name).exists()]
        return sum(pq.read_metadata(file).num_rows for file in files)

    def carry_over(self, chunks: list[Chunk]) -> None:
        """Leave these to the next run."""
        self._write(CARRIED_OVER, _chunks.dump_json(chunks).decode())

    def carried_over(self) -> list[Chunk]:
        """What this run has left to the next."""
        try:
            return _chunks.validate_json((self.path / CARRIED_OVER).read_bytes())
        except FileNotFoundError:
            return []

    def finish(self, progress: Progress) -> None:
        """Say that it can be used."""
        self._write(SUCCESS, progress.model_dump_json())

    def tell_trial(self, progress: Progress) -> None:
        """Say what a trial has shown."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._write(TRIAL, progress.model_dump_json())

    def sweep(self) -> None:
        """Remove what killed processes have begun and not finished."""
        for folder in (self.path, self.path / REJECTED):
            for file in folder.glob(".part-*.parquet.*"):
                file.unlink(missing_ok=True)

    def _tidy(self, kept: set[str]) -> None:
        """Remove what does not belong to the run: parts of other rows, and what a killed process left."""
        for folder in (self.path, self.path / REJECTED):
            begun = [file for name in ("*.parquet", *OF_A_JOB) for file in folder.glob(f".{name}.*")]
            for file in [*folder.glob("part-*.parquet"), *begun]:
                if file.name not in kept:
                    file.unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        temporary = self.path / f".{name}.{os.getpid()}"
        try:
            with temporary.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self.path / name)
        finally:
            temporary.unlink(missing_ok=True)
