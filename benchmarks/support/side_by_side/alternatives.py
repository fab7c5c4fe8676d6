"""What a reader would use instead of the queue and of the batch job, each measured as its own benchmark does."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import batch_bench, queue_bench
from benchmarks.support.side_by_side.batch_kill import kill_and_resume
from benchmarks.support.side_by_side.results import Results, Speed

QUEUES = ("ours", *queue_bench.LIBRARIES)
QUEUE_JOBS, QUEUE_SECONDS = 1_500, 3.0
BATCHES = ("ours_local", "loop", "pandas", "dask", "spark")


def say(what: str) -> None:
    """What begins now."""
    print(what, file=sys.stderr, flush=True)


def measure_queues(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    """The queue without HTTP, and other libraries': one client, one worker."""
    figures = measured_in_turn(QUEUES, max(1, arguments.rounds // 3), lambda name, _: queue_figures(name, folder))
    results.speeds |= {f"queue:{name}": speed for name, speed in figures.items()}


def queue_figures(name: str, folder: Path) -> tuple[float, float]:
    """p50 in ms and jobs/s."""
    figures = queue_bench.measured(name, folder, QUEUE_JOBS, QUEUE_SECONDS)
    return figures["p50_ms"], figures["jobs_per_second"]


def measure_batches(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    """The job and other ways to predict a data set: one digit, then many; and a job that is killed."""
    one, many = folder / "one", folder / "many"
    batch_bench.write_data(one, 1)
    batch_bench.write_data(many, arguments.rows)

    def figures(name: str, _: int) -> tuple[float, float]:
        p50_ms = 1e3 / batch_bench.measured(name, one, folder / "out", 1).rows_per_second
        return p50_ms, batch_bench.measured(name, many, folder / "out", arguments.rows).rows_per_second

    speeds = measured_in_turn(BATCHES, max(1, arguments.rounds // 3), figures)
    results.speeds |= {f"batch:{name}": speed for name, speed in speeds.items()}
    say("batch: all of its processes are killed")
    results.batch_kill = kill_and_resume(many, folder / "killed", arguments.rows)


def measured_in_turn(
    names: Sequence[str], rounds: int, figures: Callable[[str, int], tuple[float, float]]
) -> dict[str, Speed]:
    """A B C A B C."""
    speeds = {name: Speed(p50_ms=[], digits_per_second=[]) for name in names}
    for number in range(rounds):
        for name, speed in speeds.items():
            say(f"round {number + 1}: {name}")
            p50_ms, per_second = figures(name, number)
            speed.p50_ms.append(p50_ms)
            speed.digits_per_second.append(per_second)
    return speeds
