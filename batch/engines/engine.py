"""Where chunks are processed: processes on this machine, Dask or Spark. All of them call `process_chunk`."""

from collections.abc import Generator, Sequence

from batch.command_line import Engine
from batch.process_chunk import Result, Task
from batch.settings import JobSettings
from common.inference.cpu_quota import cpu_quota

Results = Generator[Result | None]
"""Results in any order. `None` comes several times a second while there is none, so that the caller can stop.

To close the generator stops the chunks that are being processed.
"""


def worker_count(settings: JobSettings) -> int:
    """The number of processes, if they are on this machine."""
    return settings.workers or cpu_quota()


def process_chunks(tasks: Sequence[Task], engine: Engine, settings: JobSettings) -> Results:
    """The results of these tasks. Dask and Spark are imported only when they are used."""
    if not tasks:
        return
    match engine:
        case "local":
            from batch.engines import on_processes

            yield from on_processes.run(tasks, worker_count(settings))
        case "dask":
            from batch.engines import on_dask

            yield from on_dask.run(tasks, worker_count(settings), settings.dask_scheduler)
        case "spark":
            from batch.engines import on_spark

            yield from on_spark.run(tasks, settings.spark_master)
