"""The job: reads a data set, predicts it chunk by chunk, and writes the answers. The predictor lives only as long.

`python -m batch.job run --input DIR --output DIR`. It may be killed at any moment; started again, it goes on.
"""

import signal
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType

from batch.command_line import Options, parsed
from batch.dataset.dataset import Chunk, DataError, DataSet, plan
from batch.output.folder import OtherModel, OutputFolder, OutputInUse
from batch.output.progress import ModelId, Progress
from batch.process_chunk import check_model
from batch.run import CANCELLED, DONE, FAILED, IN_USE, Attempt, Cancelled, Late
from batch.settings import JobSettings
from batch.trial.trial import try_out
from common.inference.model_file import ModelError, read_model_file


def main() -> int:
    """The command."""
    options = parsed(sys.argv[1:])
    settings = JobSettings.from_environment()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _cancel)
    signal.signal(signal.SIGALRM, _be_late)
    try:
        return run(options, settings)
    except (DataError, OtherModel, ModelError, OSError) as error:
        return _refused(options, str(error))
    except OutputInUse as error:
        print(f"refused: {error}", file=sys.stderr)
        return IN_USE
    except Cancelled:
        print("cancelled before it began", file=sys.stderr)
        return CANCELLED
    except Exception as error:  # such as no Java for Spark: whatever it is, the run must not stay `running`
        traceback.print_exc()
        return _refused(options, f"{type(error).__name__}: {error}")


def run(options: Options, settings: JobSettings) -> int:
    """Run the job; gives the exit code. Raises `DataError`, `OtherModel`, `ModelError`, `OutputInUse`."""
    folder = OutputFolder(options.output.absolute())
    if folder.is_finished and not options.trial:
        print(f"{folder.path} is finished: nothing to do")
        return DONE
    file = read_model_file(settings.model_uri, settings.model_sha256 or None, 30.0)
    check_model(file)
    model = ModelId(name=file.name, version=file.sha256[:12], sha256=file.sha256)
    if options.trial:
        return DONE if try_out(options, settings, model, folder) else FAILED
    with folder.locked():
        data = plan(options.inputs, settings.chunk_rows, options.first, options.last)
        if options.carry_over_from:
            _join(data, OutputFolder(options.carry_over_from).carried_over(), settings.chunk_rows)
        failed = folder.failed() if options.retry == "none" else set()
        chunks = folder.begin(options, model, data)
        return Attempt(options, settings, folder, data, model).go([one for one in chunks if one.name not in failed])


def _join(data: DataSet, carried_over: list[Chunk], chunk_rows: int) -> None:
    """Add what an earlier run has left, but for files that are read anyhow."""
    read = {chunk.file for chunk in data.chunks}
    for file in sorted({chunk.file for chunk in carried_over} - read):
        data.chunks += _as_they_are([chunk for chunk in carried_over if chunk.file == file], chunk_rows)


def _as_they_are(left: list[Chunk], chunk_rows: int) -> list[Chunk]:
    """These chunks of one file; if it has changed since, or could not even be read, it is taken apart anew."""
    try:
        chunks = plan([left[0].file], chunk_rows).chunks
    except DataError:
        return left  # it is gone: they fail again, and nothing else does
    same = {chunk.fingerprint for chunk in chunks} == {chunk.fingerprint for chunk in left}
    return left if same else chunks


def _refused(options: Options, message: str) -> int:
    """It cannot begin: say so, also in the output's state where there is one to say it in."""
    print(f"failed: {message}", file=sys.stderr)
    folder = OutputFolder(options.output.absolute())
    progress = Progress(status="failed", engine=options.engine, rows_total=0, chunks_total=0, errors=[message])
    progress.finished_at = datetime.now(UTC)
    with suppress(OutputInUse, OSError), folder.locked():  # or somebody else has it, or there is no room
        folder.tell(progress)
    return FAILED


def _cancel(number: int, frame: FrameType | None) -> None:
    raise Cancelled


def _be_late(number: int, frame: FrameType | None) -> None:
    raise Late


if __name__ == "__main__":
    sys.exit(main())
