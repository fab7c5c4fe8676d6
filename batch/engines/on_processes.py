"""Engine `local`: a pool of processes on this machine, one for each CPU, each with the model and one thread.

A process that dies takes only its chunk with it; one whose parent dies ends itself.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from batch.process_chunk import Result, Task, do_chunk

MAX_DEATHS = 3
"""So many processes may die over a chunk; then it has failed."""
WATCH_SECONDS = 0.2


def run(tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """Do all, and give each result as soon as it is there; to close this iterator ends the processes."""
    left = {task.chunk.name: task for task in tasks}
    deaths = dict.fromkeys(left, 0)
    while left:
        with_suspects = [name for name in left if deaths[name]]
        # Who was at work when a process died is not told, so suspects are done one by one, each in a pool of its own.
        batch = [left[with_suspects[0]]] if with_suspects else list(left.values())
        for result in _run_pool(batch, min(workers, len(batch))):
            if isinstance(result, Result):
                del left[result.name]
                yield result
                continue
            for name in result:
                deaths[name] += 1
                if deaths[name] >= MAX_DEATHS:
                    yield Result(name, error=f"{left.pop(name).chunk.file}: {MAX_DEATHS} processes died over it")


def _run_pool(tasks: Sequence[Task], workers: int) -> Iterator[Result | list[str]]:
    """Results; at last, if a process died, the names of chunks that may have been its."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _end_with_parent, (os.getpid(),))
    queue = iter(tasks)
    running: dict[Future[Result], Task] = {}
    try:
        while True:
            while len(running) < 2 * workers and (task := next(queue, None)):  # one each in hand, one each to come
                running[pool.submit(do_chunk, task)] = task
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda one: one.exception() is not None):  # first what is whole
                result = future.result()
                del running[future]
                yield result
    except BrokenProcessPool:
        yield [task.chunk.name for task in running.values()]
    finally:
        _end(pool)


def _end(pool: ProcessPoolExecutor) -> None:
    """At once, whatever is being done: a chunk that is not there will be done again."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _end_with_parent(parent: int) -> None:
    """Watch the parent: a job that is killed must leave nothing behind."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
