"""A trial: one chunk, of which only what it tells about data, model and time is kept; nothing is published.

From the chunk's rate follows how long all of the data would take, in as many processes as it gets: a deadline that
is too short is told before it counts.
"""

import math
from datetime import UTC, datetime
from tempfile import TemporaryDirectory

from batch.command_line import Options
from batch.dataset.dataset import DataError, plan
from batch.engines.engine import perform, workers
from batch.output.folder import OutputFolder
from batch.output.progress import ModelId, Progress
from batch.process_chunk import Task
from batch.settings import JobSettings
from batch.trial.drift import drift


def try_out(options: Options, settings: JobSettings, model: ModelId, folder: OutputFolder) -> bool:
    """Do it, and tell; whether the chunk could be done. Raises `DataError`."""
    data = plan(options.inputs, settings.chunk_rows, options.first, options.last)
    chunk = next((chunk for chunk in data.chunks if chunk.rows or not chunk.fingerprint), None)
    if chunk is None:
        raise DataError(f"{', '.join(options.inputs)}: there is no row to try")
    progress = Progress(
        engine=options.engine, rows_total=data.rows, chunks_total=1, model=model, data_checksum=data.checksum
    )
    with TemporaryDirectory() as scratch:
        limit = settings.max_rejected_rows
        task = Task(chunk, scratch, settings.model_uri, model.sha256, limit, trial=True)
        (result,) = list(perform([task], options.engine, settings))
    progress.status = "failed" if result.error else "done"
    progress.errors = [result.error] if result.error else []
    progress.rows, progress.rejected, progress.chunks = result.rows, result.rejected, 1
    progress.finished_at = datetime.now(UTC)
    if result.rows:
        progress.rows_per_second = result.rows / result.seconds
        at_once = min(workers(settings), len(data.chunks))
        progress.eta_seconds = data.rows / progress.rows_per_second / at_once
        progress.at_risk = progress.eta_seconds > (options.deadline_seconds or math.inf)
        progress.trial = drift(result, settings.model_uri)
    folder.tell_trial(progress)
    print(progress.model_dump_json(indent=2))
    return not result.error
