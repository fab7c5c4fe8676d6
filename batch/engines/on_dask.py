"""Engine `dask`: processes chunks on the workers of a Dask cluster, which have the same folders.

Each chunk is a partition of a bag, processed by `map_partitions`. Without a scheduler's address, a local cluster is
started, which ends with the job.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import dask.bag
from distributed import Client, LocalCluster, as_completed

from batch.process_chunk import Result, Task, process_chunk

POLL_SECONDS = 0.1
WORKER_SECONDS = 45
"""A cluster without a worker is given up after so long."""
SILENT: dict[str, Any] = {"silence_logs": logging.CRITICAL, "env": {"DASK_LOGGING__DISTRIBUTED": "critical"}}
"""In this process, and in the workers: what fails is in the results, and a worker that misses its scheduler at the end
would log a traceback."""


def run(tasks: Sequence[Task], workers: int, scheduler: str | None) -> Iterator[Result | None]:
    """Yield each result as soon as it is there, and None in between; closing it cancels the rest."""
    with ExitStack() as stack:
        if scheduler is None:
            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, **SILENT)
            scheduler = stack.enter_context(cluster)
        client = stack.enter_context(Client(scheduler))
        latest = time.monotonic() + WORKER_SECONDS
        while not (threads := sum(client.nthreads().values())):
            if time.monotonic() > latest:
                raise ConnectionError(f"DASK_SCHEDULER={scheduler}: no worker has connected to it: do the workers run?")
            yield None
            time.sleep(POLL_SECONDS)
        bag = dask.bag.from_sequence(tasks, npartitions=len(tasks)).map_partitions(_process_partition)
        futures = client.compute(bag.to_delayed())
        stack.callback(client.cancel, futures, force=True)
        names = dict(zip([future.key for future in futures], [task.chunk.name for task in tasks], strict=True))
        completed = as_completed(futures)
        while not completed.is_empty():
            if not completed.has_ready():
                yield None
                time.sleep(POLL_SECONDS)
                continue
            future = next(completed)
            if error := future.exception():  # its worker was killed several times
                yield Result(names[future.key], error=f"{type(error).__name__}: {error}")
            else:
                yield from (replace(result, workers=threads) for result in future.result())


def _process_partition(tasks: Iterable[Task]) -> list[Result]:
    return [process_chunk(task) for task in tasks]
