"""Has the chunks of a run processed, reports progress, enforces the deadline, and finishes the output."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

from batch.command_line import CANCELLED, DONE, FAILED, LATE, JobOptions
from batch.dataset.changes import ADDED, CHANGED, find_added_files, find_changed_files
from batch.dataset.dataset import Chunk, DataSet, split
from batch.dataset.files import read_version
from batch.engines.engine import process_chunks
from batch.output.folder import OutputFolder
from batch.output.progress import Ending, ModelId, Progress
from batch.output.progress_bar import show_progress
from batch.process_chunk import Result, Task
from batch.settings import JobSettings
from batch.stop_request import StopRequest
from common.service.masking import mask_urls

REPORT_SECONDS = 0.5
MAX_ERRORS = 10


class JobRun:
    """The processing of a run's chunks, and how far it is."""

    def __init__(
        self,
        options: JobOptions,
        settings: JobSettings,
        folder: OutputFolder,
        data: DataSet,
        model: ModelId,
        stop: StopRequest,
    ) -> None:
        self._options = options
        self._settings = settings
        self._folder = folder
        self._data = data
        self._stop = stop
        self._started = time.monotonic()
        self._failed: list[str] = []
        allowed = options.deadline_seconds
        if allowed and options.on_deadline == "stop":
            stop.set_deadline(allowed)
        self.progress = Progress(
            engine=options.engine,
            rows_total=data.rows,
            chunks_total=len(data.chunks),
            model=model,
            data_checksum=data.checksum,
            deadline=datetime.now(UTC) + timedelta(seconds=allowed) if allowed else None,
        )
        self._count_parts()

    def process(self, chunks: list[Chunk]) -> int:
        """Process these chunks and finish the run; returns the exit code."""
        self._folder.write_progress(self.progress)
        results = process_chunks([self._task(chunk) for chunk in chunks], self._options.engine, self._settings)
        with closing(results), show_progress(self.progress) as show:
            self._collect(results, show)
        if self._stop.is_cancelled:
            return self._end("cancelled", CANCELLED, "start it again to go on")
        return self._finish()

    def _count_parts(self) -> None:
        """Count rows and chunks as done whose part exists."""
        progress, chunks = self.progress, self._data.chunks
        missing = self._folder.find_missing(chunks)
        progress.rows, progress.rows_total = self._data.rows - sum(chunk.rows for chunk in missing), self._data.rows
        progress.chunks, progress.chunks_total = len(chunks) - len(missing), len(chunks)
        progress.rejected = self._folder.count_rejected_rows()

    def _task(self, chunk: Chunk) -> Task:
        sha256 = self.progress.model.sha256 if self.progress.model else ""
        settings, output = self._settings, str(self._folder.path)
        limits = settings.max_rejected_rows, settings.model_download_timeout_seconds, settings.batching
        return Task(chunk, output, settings.model_uri, sha256, *limits, settings.column_names)

    def _collect(self, results: Iterator[Result | None], show: Callable[[], None]) -> None:
        """Record each result until all are there or the job is to stop. `None`: no result yet, time to check."""
        next_report, rows_before, rate_since = 0.0, self.progress.rows, 0.0
        for result in results:
            if self._stop.is_cancelled or self._stop.is_late:
                return
            if result is None:
                continue
            rate_since = rate_since or time.monotonic() - result.seconds  # without the start of the engine
            self._record(result)
            self._estimate((self.progress.rows - rows_before) / max(time.monotonic() - rate_since, 1e-3))
            if time.monotonic() >= next_report:
                self._folder.write_progress(self.progress)
                next_report = time.monotonic() + REPORT_SECONDS
            show()
            if self.progress.rejected > self._settings.max_rejected_rows:
                return

    def _record(self, result: Result) -> None:
        progress = self.progress
        if result.error:
            self._failed.append(result.name)
            progress.failed_chunks += 1
            self._add_error(result.error)
        else:
            progress.chunks += 1
            progress.rows += result.rows + result.rejected
            progress.rejected += result.rejected

    def _add_error(self, error: str) -> None:
        """Add an error, unless it is there already: all chunks of a file may fail alike."""
        self.progress.errors = [*dict.fromkeys([*self.progress.errors, error])][:MAX_ERRORS]

    def _take_back_changed_files(self) -> None:
        """Remove the parts of files that have changed since the plan; add the chunks of files that are new."""
        options, changed = self._options, find_changed_files(self._data)
        added = find_added_files(self._data, options.input, options.first, options.last)
        self._folder.remove_parts(chunk for chunk in self._data.chunks if chunk.file in changed)
        for file in [*added, *changed.difference(chunk.file for chunk in self._data.chunks)]:
            self._data.chunks += split(file, read_version(file), self._settings.chunk_rows)
        for file, error in [*((file, CHANGED) for file in sorted(changed)), *((file, ADDED) for file in added)]:
            if not any(known.startswith(f"{mask_urls(file)}: ") for known in self.progress.errors):
                self._add_error(f"{mask_urls(file)}: {error}")
        self._count_parts()

    def _estimate(self, rows_per_second: float) -> None:
        """When the run will be done, and whether that is before the deadline."""
        progress, allowed = self.progress, self._options.deadline_seconds
        progress.rows_per_second = rows_per_second
        if rows_per_second:
            progress.eta_seconds = (progress.rows_total - progress.rows) / rows_per_second
        if allowed and progress.eta_seconds is not None:
            progress.at_risk = time.monotonic() - self._started + progress.eta_seconds > allowed

    def _finish(self) -> int:
        """Publish the output if it can be used; else say what is missing."""
        self._take_back_changed_files()
        missing, limit = self._folder.find_missing(self._data.chunks), self._settings.max_rejected_rows
        if self.progress.rejected > limit:
            return self._end("failed", FAILED, f"over {limit} rows were rejected (MAX_REJECTED_ROWS)")
        if missing and self._stop.is_late:
            self.progress.at_risk = True
            return self._end("late", LATE, f"the deadline has passed, {len(missing)} chunks are missing: go on later")
        if missing and self._options.retry != "none":
            return self._end("failed", FAILED, f"{len(missing)} chunks failed: {'; '.join(self.progress.errors)}")
        self._folder.write_deferred(missing)
        self.progress.deferred = sum(chunk.rows for chunk in missing)
        deferred = f"; {len(missing)} chunks are deferred to the next run" if missing else ""
        return self._end("done", DONE, f"{self.progress.rows:,} rows, {self.progress.rejected:,} rejected{deferred}")

    def _end(self, status: Ending, code: int, message: str) -> int:
        self.progress.status, self.progress.finished_at = status, datetime.now(UTC)
        if code and not self.progress.errors:
            self.progress.errors = [message]
        self._folder.remove_temporary_files()
        self._folder.write_failed(self._failed)
        self._folder.write_progress(self.progress)
        if status == "done":
            self._folder.finish(self.progress, self._data.chunks)
        print(f"{status}: {message}", file=sys.stderr if code else sys.stdout)
        return code
