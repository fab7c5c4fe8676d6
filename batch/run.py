"""One attempt at a run: has its chunks done, tells how far it is, minds the deadline, and closes it."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Literal

from batch.command_line import Options
from batch.dataset.dataset import Chunk, DataSet
from batch.engines.engine import perform
from batch.output.folder import OutputFolder
from batch.output.progress import ModelId, Progress
from batch.output.progress_bar import shown
from batch.process_chunk import Result, Task
from batch.settings import JobSettings

DONE, FAILED, IN_USE, LATE, CANCELLED = 0, 1, 3, 4, 130
"""Exit codes of the job; 2 is a wrong command line."""
TELL_SECONDS = 0.5
ERRORS_SHOWN = 10


class Cancelled(BaseException):
    """SIGTERM or SIGINT came. As KeyboardInterrupt it is no `Exception`, which some library would take for its own."""


class Late(BaseException):
    """The deadline is over."""


class Attempt:
    """One attempt at a run."""

    def __init__(
        self, options: Options, settings: JobSettings, folder: OutputFolder, data: DataSet, model: ModelId
    ) -> None:
        self._options = options
        self._settings = settings
        self._folder = folder
        self._data = data
        self._started = self._rate_from = time.monotonic()
        self._failed: list[str] = []
        deadline = timedelta(seconds=options.deadline_seconds) if options.deadline_seconds else None
        self.progress = Progress(
            engine=options.engine,
            rows_total=data.rows,
            chunks_total=len(data.chunks),
            model=model,
            data_checksum=data.checksum,
            deadline=datetime.now(UTC) + deadline if deadline else None,
        )

    def go(self, chunks: list[Chunk]) -> int:
        """Do these chunks, and close the run."""
        progress = self.progress
        progress.chunks = len(self._data.chunks) - len(self._folder.missing(self._data.chunks))
        progress.rows = self._data.rows - sum(chunk.rows for chunk in self._folder.missing(self._data.chunks))
        progress.rejected = self._folder.rejected_rows()
        self._folder.tell(progress)
        results = perform([self._task(chunk) for chunk in chunks], self._options.engine, self._settings)
        try:
            with shown(progress) as show, self._alarm():
                self._follow(results, progress.rows, show)
        except Late:
            pass
        except Cancelled:
            return self._end("cancelled", CANCELLED, "start it again to go on")
        finally:
            results.close()
        return self._close()

    def _task(self, chunk: Chunk) -> Task:
        sha256 = self.progress.model.sha256 if self.progress.model else ""
        limit = self._settings.max_rejected_rows
        return Task(chunk, str(self._folder.path), self._settings.model_uri, sha256, limit)

    def _follow(self, results: Iterator[Result], rows_before: int, show: Callable[[], None]) -> None:
        """Note each result, tell of the progress, mind the deadline."""
        progress, next_tell = self.progress, 0.0
        for result in results:
            if not progress.rows_per_second and result.seconds:
                self._rate_from = time.monotonic() - result.seconds  # without the start of the engine
            if result.error:
                self._failed.append(result.name)
                progress.failed_chunks += 1
                progress.errors = [*progress.errors, result.error][:ERRORS_SHOWN]
            else:
                progress.chunks += 1
                progress.rows += result.rows + result.rejected
                progress.rejected += result.rejected
            progress.rows_per_second = (progress.rows - rows_before) / max(time.monotonic() - self._rate_from, 1e-3)
            if progress.rows_per_second:
                progress.eta_seconds = (progress.rows_total - progress.rows) / progress.rows_per_second
            self._mind_deadline()
            if time.monotonic() >= next_tell:
                self._folder.tell(progress)
                next_tell = time.monotonic() + TELL_SECONDS
            show()
            if progress.rejected > self._settings.max_rejected_rows:
                return

    def _mind_deadline(self) -> None:
        allowed, eta = self._options.deadline_seconds, self.progress.eta_seconds
        if allowed and eta is not None:
            self.progress.at_risk = time.monotonic() - self._started + eta > allowed

    @contextmanager
    def _alarm(self) -> Iterator[None]:
        """Raises `Late` when the deadline is over, if that is to stop the run."""
        if self._options.deadline_seconds and self._options.on_deadline == "stop":
            left = self._options.deadline_seconds - (time.monotonic() - self._started)
            signal.setitimer(signal.ITIMER_REAL, max(left, 1e-3))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    @property
    def _is_over(self) -> bool:
        allowed = self._options.deadline_seconds
        if allowed is None or self._options.on_deadline == "finish":
            return False
        return time.monotonic() - self._started >= allowed

    def _close(self) -> int:
        """Publish what can be used; say what is missing."""
        missing, limit = self._folder.missing(self._data.chunks), self._settings.max_rejected_rows
        if self.progress.rejected > limit:
            return self._end("failed", FAILED, f"over {limit} rows are no pictures (MAX_REJECTED_ROWS)")
        if missing and self._is_over:
            self.progress.at_risk = True
            return self._end("late", LATE, f"the deadline is over, {len(missing)} chunks are not done: go on later")
        if missing and self._options.retry != "none":
            return self._end("failed", FAILED, f"{len(missing)} chunks failed: {'; '.join(self.progress.errors)}")
        self._folder.carry_over(missing)
        left = f"; {len(missing)} chunks are left to the next run" if missing else ""
        return self._end("done", DONE, f"{self.progress.rows:,} rows, {self.progress.rejected:,} set aside{left}")

    def _end(self, status: Literal["done", "failed", "cancelled", "late"], code: int, message: str) -> int:
        self.progress.status, self.progress.finished_at = status, datetime.now(UTC)
        if code and not self.progress.errors:
            self.progress.errors = [message]
        self._folder.sweep()
        self._folder.note_failed(self._failed)
        self._folder.tell(self.progress)
        if status == "done":
            self._folder.finish(self.progress)
        print(f"{status}: {message}", file=sys.stderr if code else sys.stdout)
        return code
