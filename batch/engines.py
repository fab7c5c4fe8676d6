"""Where the chunks are done: in processes of this machine, on Dask, on Spark; by the same function everywhere."""

from collections.abc import Generator, Sequence

from batch.chunk_work import Result, Task
from batch.options import Engine
from batch.settings import JobSettings
from common.quota import cpu_quota


def workers(settings: JobSettings) -> int:
    """How many processes do the chunks, where they are this machine's."""
    return settings.workers or cpu_quota()


def perform(tasks: Sequence[Task], engine: Engine, settings: JobSettings) -> Generator[Result]:
    """The results of these tasks; Dask and Spark are imported only where they are asked for."""
    if not tasks:
        return
    match engine:
        case "local":
            from batch import engine_local

            yield from engine_local.run(tasks, workers(settings))
        case "dask":
            from batch import engine_dask

            yield from engine_dask.run(tasks, workers(settings), settings.dask_scheduler)
        case "spark":
            from batch import engine_spark

            yield from engine_spark.run(tasks, settings.spark_master)
