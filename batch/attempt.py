"""One attempt at a run, from its options to its exit code: which chunks it gets, and why it cannot begin."""

import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime

from batch.chunk_model import check_model
from batch.command_line import CANCELLED, DONE, FAILED, FAILURE, IN_USE, JobOptions
from batch.dataset.dataset import plan
from batch.dataset.deferred import add_deferred_chunks
from batch.dataset.files import DataError
from batch.engines.installed import EngineMissing, require_engine
from batch.output.folder import OutputFolder
from batch.output.progress import ModelId, Progress
from batch.output.refusals import ModelMismatch, OutputInUse, OutputRefused
from batch.run import JobRun
from batch.settings import JobSettings
from batch.stop_request import Cancelled, StopRequest
from batch.trial.trial import run_trial
from common.inference.model_file import ModelError, read_model_file
from common.service.masking import mask_urls


def attempt(options: JobOptions) -> int:
    """Run the job and say how it ended; returns the exit code."""
    settings = JobSettings.from_environment()
    for sentence in settings.find_mistyped():
        print(sentence, file=sys.stderr)
    stop = StopRequest()
    stop.set_on_signals()
    try:
        return run(options, settings, stop)
    except (DataError, EngineMissing, ModelMismatch, ModelError, OSError) as error:
        return report_failure(options, str(error))
    except OutputRefused as error:  # nothing is written there, no progress either
        print(mask_urls(f"{FAILURE}{error}"), file=sys.stderr)
        return FAILED
    except OutputInUse as error:
        print(f"refused: {error}", file=sys.stderr)
        return IN_USE
    except Cancelled:
        print("cancelled before the first chunk", file=sys.stderr)
        return CANCELLED
    except Exception as error:  # such as no Java for Spark: the run must not stay `running`
        print(mask_urls(traceback.format_exc()), file=sys.stderr)
        return report_failure(options, f"{type(error).__name__}: {error}")


def run(options: JobOptions, settings: JobSettings, stop: StopRequest) -> int:
    """Run the job; returns the exit code. Raises what `attempt` catches."""
    folder = OutputFolder(options.output.absolute())
    folder.require_own()
    if folder.is_finished and not options.trial:
        print(f"{folder.path} is finished: nothing to do")
        return DONE
    require_engine(options.engine)
    file = read_model_file(settings.model_uri, settings.model_sha256 or None, settings.model_download_timeout_seconds)
    check_model(file, settings.batching)
    model = ModelId(name=file.name, version=file.sha256[:12], sha256=file.sha256)
    if options.trial:
        return DONE if run_trial(options, settings, model, folder, stop) else FAILED
    with folder.lock():
        data = plan(options.input, settings.chunk_rows, options.first, options.last, stop.check)
        if options.deferred_from:
            add_deferred_chunks(data, OutputFolder(options.deferred_from).read_deferred(), settings.chunk_rows)
        failed = folder.read_failed() if options.retry == "none" else set()
        chunks = [chunk for chunk in folder.begin(options, model, data) if chunk.name not in failed]
        return JobRun(options, settings, folder, data, model, stop).process(chunks)


def report_failure(options: JobOptions, message: str) -> int:
    """The job cannot begin: print why, and write it into the output's progress where possible."""
    message = mask_urls(message)
    print(f"{FAILURE}{message}", file=sys.stderr)
    folder = OutputFolder(options.output.absolute())
    progress = Progress(status="failed", engine=options.engine, rows_total=0, chunks_total=0, errors=[message])
    progress.finished_at = datetime.now(UTC)
    with suppress(OutputInUse, OSError), folder.lock():  # another job may have the output, or the disk be full
        folder.write_progress(progress)
    return FAILED
