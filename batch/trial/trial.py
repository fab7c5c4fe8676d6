"""A trial: processes one chunk and publishes nothing but a report about data, model and time.

The rate of the chunk gives the time that all of the data would take, so that a deadline that is too short is reported
before it matters.
"""

import math
from contextlib import closing
from datetime import UTC, datetime
from tempfile import TemporaryDirectory

from batch.command_line import JobOptions
from batch.dataset.dataset import plan
from batch.dataset.files import DataError
from batch.engines.engine import process_chunks
from batch.output.durable import make_folder
from batch.output.folder import OutputFolder
from batch.output.progress import ModelId, Progress
from batch.output.refusals import writing_into
from batch.process_chunk import Result, Task
from batch.settings import JobSettings
from batch.stop_request import StopRequest
from batch.trial.drift import measure_drift


def run_trial(
    options: JobOptions, settings: JobSettings, model: ModelId, folder: OutputFolder, stop: StopRequest
) -> bool:
    """Process one chunk and write the report; False if the chunk failed. Raises `DataError`, `Cancelled`."""
    data = plan(options.input, settings.chunk_rows, options.first, options.last, stop.check)
    chunk = next((chunk for chunk in data.chunks if chunk.rows or not chunk.fingerprint), None)
    if chunk is None:
        raise DataError(f"{', '.join(options.input)}: there is no row to try")
    progress = Progress(
        engine=options.engine, rows_total=data.rows, chunks_total=1, model=model, data_checksum=data.checksum
    )
    with writing_into(folder.path):
        make_folder(folder.path)
        temporary = TemporaryDirectory(prefix=".trial-", dir=folder.path)  # a cluster's workers have it too
    with temporary as scratch:
        task = Task(
            chunk,
            scratch,
            settings.model_uri,
            model.sha256,
            settings.max_rejected_rows,
            settings.model_download_timeout_seconds,
            settings.batching,
            settings.column_names,
            trial=True,
        )
        result = _process(task, options, settings, stop)
    progress.status = "failed" if result.error else "done"
    progress.errors = [result.error] if result.error else []
    progress.rows, progress.rejected, progress.chunks = result.rows, result.rejected, 1
    progress.finished_at = datetime.now(UTC)
    if result.rows:
        progress.rows_per_second = result.rows / result.seconds
        parallel = min(result.workers, len(data.chunks))
        progress.eta_seconds = data.rows / progress.rows_per_second / parallel
        progress.at_risk = progress.eta_seconds > (options.deadline_seconds or math.inf)
        progress.trial = measure_drift(result, settings.model_uri)
    folder.write_trial(progress)
    print(progress.model_dump_json(indent=2))
    return not result.error


def _process(task: Task, options: JobOptions, settings: JobSettings, stop: StopRequest) -> Result:
    with closing(process_chunks([task], options.engine, settings)) as results:
        for result in results:
            stop.check()
            if result:
                return result
    raise RuntimeError(f"the engine {options.engine} returned no result")
