"""Where the chunks are done: in processes of this machine, on Dask, on Spark; by the same function everywhere."""

from collections.abc import Generator, Sequence

from batch.command_line import Engine
from batch.process_chunk import Result, Task
from batch.settings import JobSettings
from common.inference.cpu_quota import cpu_quota


def workers(settings: JobSettings) -> int:
    """How many processes do the chunks, where they are this machine's."""
    return settings.workers or cpu_quota()


def perform(tasks: Sequence[Task], engine: Engine, settings: JobSettings) -> Generator[Result]:
    """The results of these tasks; Dask and Spark are imported only where they are asked for."""
    if not tasks:
        return
    match engine:
        case "local":
            from batch.engines import on_processes as engine_local

            yield from engine_local.run(tasks, workers(settings))
        case "dask":
            from batch.engines import on_dask as engine_dask

            yield from engine_dask.run(tasks, workers(settings), settings.dask_scheduler)
        case "spark":
            from batch.engines import on_spark as engine_spark

            yield from engine_spark.run(tasks, settings.spark_master)
