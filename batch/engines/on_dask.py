"""Engine `dask`: the same chunk function on the workers of a Dask cluster, which see the same folders.

Each chunk is a partition of a bag, and `map_partitions` does it. Without a scheduler's address, a cluster of this
machine's own is made for the job and ends with it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

import dask.bag
from distributed import Client, LocalCluster, as_completed

from batch.process_chunk import Result, Task, do_chunk


def run(tasks: Sequence[Task], workers: int, scheduler: str | None) -> Iterator[Result]:
    """Do all, and give each result as soon as it is there; to close this iterator calls off the rest."""
    with ExitStack() as stack:
        if scheduler is None:
            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=40)
            scheduler = stack.enter_context(cluster)
        client = stack.enter_context(Client(scheduler))
        bag = dask.bag.from_sequence(tasks, npartitions=len(tasks)).map_partitions(_do_partition)
        futures = client.compute(bag.to_delayed())
        stack.callback(client.cancel, futures, force=True)
        names = dict(zip([future.key for future in futures], [task.chunk.name for task in tasks], strict=True))
        for future in as_completed(futures):
            if error := future.exception():  # a worker died over it, again and again
                yield Result(names[future.key], error=f"{type(error).__name__}: {error}")
            else:
                yield from future.result()


def _do_partition(tasks: Iterable[Task]) -> list[Result]:
    return [do_chunk(task) for task in tasks]
