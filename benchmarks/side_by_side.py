"""The six patterns side by side on the same work, beside what a reader would use instead: `make bench-figure`

One digit at a time and many at once; what callers get while one model is slow, and when its process is killed. All
processes of a pattern share one CPU and the callers have the other; queues of other libraries and batches have both.
The results are kept in `benchmarks/results/`, and `benchmarks.figure` draws them.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import uvloop

from benchmarks.support.load.questions import PREDICT
from benchmarks.support.load.wrk import LoadError, load
from benchmarks.support.machine import begin, description, part_cpus, warnings
from benchmarks.support.rounds import SMALL_MODEL, WARM_UP_SECONDS
from benchmarks.support.servers.pattern import WAYS, Served, served
from benchmarks.support.servers.start import ServerError
from benchmarks.support.side_by_side.alternatives import measure_batches, measure_queues, say
from benchmarks.support.side_by_side.callers import Trouble, callers_of
from benchmarks.support.side_by_side.results import FILE, Incident, Results, Speed
from tests.support.models.onnx_models import BATCHED, slow_pixels, slow_reader

CALLERS = 32
RATE, DEADLINE_MS, INCIDENT_SECONDS = 50, 500, 5.0
SLOW_SECONDS, SLOW_PICTURE_SECONDS = 2.0, 1.0
"""So long callers send pictures that take the model so long, twice the deadline. A batch takes as long as one."""
RELAXED_MS = 10_000
"""The deadline where speed is measured: none is missed."""
ROWS = 1_000_000


def main() -> None:
    """Measure the parts that are wanted, and write the results."""
    arguments = parse_arguments()
    begin()
    cpus = part_cpus()
    results = Results(
        machine=description() | {name: version(name) for name in ("redis", "pandas", "dask", "pyspark")},
        warnings=warnings(cpus),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        callers_per_second=RATE,
        deadline_ms=DEADLINE_MS,
        slow_seconds=SLOW_SECONDS,
        rows=arguments.rows,
    )
    try:
        for part in arguments.parts:
            with TemporaryDirectory() as folder:
                PARTS[part](results, arguments, Path(folder))
    except (LoadError, ServerError, RuntimeError) as error:
        sys.exit(f"failed: {error}")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(results.model_dump_json(indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.side_by_side", description=__doc__)
    parser.add_argument("--seconds", type=int, default=2, help="of one measurement, whole (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="over HTTP; of the rest a third (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=ROWS, help="of a batch run (default: %(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--contestants", nargs="+", choices=WAYS, default=list(WAYS), help="over HTTP (default: all)")
    parser.add_argument("--json", type=Path, default=FILE, metavar="FILE", help="write there (default: %(default)s)")
    return parser.parse_args()


def measure_online(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    """Speeds over HTTP: all run at once and are measured in turn, A B C A B C."""
    cpus = part_cpus()
    with ExitStack() as stack:
        contestants = [
            stack.enter_context(served(name, SMALL_MODEL, cpus.server, folder)) for name in arguments.contestants
        ]
        os.sched_setaffinity(0, cpus.load)
        stack.callback(os.sched_setaffinity, 0, cpus.server | cpus.load)
        for one in contestants:
            ask(one, CALLERS, WARM_UP_SECONDS)
            results.speeds[one.name] = Speed(p50_ms=[], digits_per_second=[])
        for number in range(arguments.rounds):
            for one in contestants:
                say(f"round {number + 1}: {one.name}")
                results.speeds[one.name].p50_ms.append(ask(one, 1, arguments.seconds)[0])
                results.speeds[one.name].digits_per_second.append(ask(one, CALLERS, arguments.seconds)[1])
                one.empty_log()


def ask(one: Served, callers: int, seconds: int) -> tuple[float, float]:
    """p50 in ms and digits/s. wrk asks where one request gives the digit; a job needs two, and so our own callers."""
    if one.name != "asynchronous":
        done = load(one.url + one.way.path, callers, seconds, PREDICT)
        return done.p50_ms, done.requests / done.seconds

    async def jobs() -> list[float]:
        async with callers_of(one.url, one.way.path, RELAXED_MS) as these:
            return await these.closed_loop(callers, seconds)

    took = uvloop.run(jobs())
    return median(took) * 1e3, len(took) / seconds


def measure_incidents(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    """One contestant after another: its model is slow, later its process is killed and started again at once."""
    cpus = part_cpus()
    model = Path(slow_reader(folder / "mlp.onnx"))
    slow_picture = json.dumps(slow_pixels(SLOW_PICTURE_SECONDS)).encode()
    os.sched_setaffinity(0, cpus.load)
    for name in arguments.contestants:
        with served(name, model, cpus.server, folder, **BATCHED) as one:
            slow = Trouble(body=lambda since: slow_picture if 0 <= since < SLOW_SECONDS else PREDICT.body)
            say(f"{name}: a slow model")
            results.slow[name] = incident(one, slow)
            one.kill_predictor()  # it may still be at work on what came meanwhile
            one.await_digit()
            say(f"{name}: a killed process")
            results.killed[name] = incident(one, Trouble(inject=one.kill_predictor))
    os.sched_setaffinity(0, cpus.server | cpus.load)


def incident(one: Served, trouble: Trouble) -> Incident:
    """What callers get who come at a steady rate."""

    async def run() -> Incident:
        async with callers_of(one.url, one.way.path, DEADLINE_MS) as these:
            return await these.steadily(RATE, INCIDENT_SECONDS, trouble)

    return uvloop.run(run())


PARTS: dict[str, Callable[[Results, argparse.Namespace, Path], None]] = {
    "online": measure_online,
    "incidents": measure_incidents,
    "queues": measure_queues,
    "batches": measure_batches,
}

if __name__ == "__main__":
    main()
