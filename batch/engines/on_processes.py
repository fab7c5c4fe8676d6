"""Engine `local`: a pool of processes on this machine, one per CPU, each with the model and one thread.

If a process is killed, only its chunk is processed again. If the job is killed, its processes exit.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from batch.engines.fork_server import PROCESSES
from batch.process_chunk import Result, Task, process_chunk

MAX_CRASHES = 3
"""A chunk fails after this many of its processes were killed."""
POLL_SECONDS = 0.2


def run(tasks: Sequence[Task], workers: int) -> Iterator[Result | None]:
    """Yield each result as soon as it is there, and None in between; closing it stops the processes."""
    waiting = {task.chunk.name: task for task in tasks}
    crashes = dict.fromkeys(waiting, 0)
    while waiting:
        suspects = [name for name in waiting if crashes[name]]
        # A broken pool does not say which process crashed, so suspects are processed one by one, each in its own pool.
        batch = [waiting[suspects[0]]] if suspects else list(waiting.values())
        for result in _run_pool(batch, min(workers, len(batch))):
            if isinstance(result, list):
                for name in result:
                    crashes[name] += 1
                    if crashes[name] >= MAX_CRASHES:
                        file = waiting.pop(name).chunk.file
                        yield Result(name, error=f"{file}: {MAX_CRASHES} processes crashed while processing it")
                continue
            if result:
                del waiting[result.name]
                result.workers = workers
            yield result


def _run_pool(tasks: Sequence[Task], workers: int) -> Iterator[Result | list[str] | None]:
    """Results; if a process was killed, at the end the names of the chunks that it may have processed."""
    pool = ProcessPoolExecutor(workers, PROCESSES, _prepare_process)
    queue = iter(tasks)
    running: dict[Future[Result], Task] = {}
    try:
        while True:
            while len(running) < 2 * workers and (task := next(queue, None)):  # one at work and one waiting for each
                running[pool.submit(process_chunk, task)] = task
            if not running:
                return
            done, _ = wait(running, POLL_SECONDS, return_when=FIRST_COMPLETED)
            if not done:
                yield None
            for future in sorted(done, key=lambda one: one.exception() is not None):  # results before crashes
                result = future.result()
                del running[future]
                yield result
    except BrokenProcessPool:
        yield [task.chunk.name for task in running.values()]
    finally:
        _terminate(pool)


def _terminate(pool: ProcessPoolExecutor) -> None:
    """Stop all processes immediately: an unfinished chunk is processed again in the next attempt."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _prepare_process() -> None:
    """Ctrl-C is for the job, which stops its processes. If the job is killed, exit."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        if job := multiprocessing.parent_process():
            job.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
