"""The same prediction through web_single and through other model servers; then two ways to put models together.

`make bench-peers`: LitServe, MLServer, BentoML and Ray Serve, each in an environment of its own, since they disagree on
versions. All processes of a server run on one CPU, the load on the other. Each is started, asked and ended in turn,
A B C A B C, so that no idle one takes CPU from the one that is measured. A wrong answer ends the benchmark. A peer that
refuses requests has no row for that load; the reason stands below the table.
"""

import argparse
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rich.console import Console

from benchmarks.support import machine
from benchmarks.support.large_model import write_large_model
from benchmarks.support.load.wrk import Load, LoadError, load
from benchmarks.support.peers.contestants import MODELS, TASKS, Contestant
from benchmarks.support.peers.servers import expected_probabilities, running
from benchmarks.support.report import show_table
from benchmarks.support.servers.process_tree import process_tree, proportional_mb
from benchmarks.support.servers.start import ServerError

CONNECTIONS = (1, 32)
WARM_UP_SECONDS = 2
COLUMNS = (
    "task",
    "connections",
    "contestant",
    "requests/s",
    "/ ours (min, median, max)",
    "/ constant",
    "p50 ms",
    "p99 ms",
    "CPU µs/request",
    "processes",
    "MB",
    "start to ready s",
)


class Sample(NamedTuple):
    """One load on one server: what the load saw, and what all processes of the server used."""

    load: Load
    cpu_us: float
    processes: int
    mb: float
    ready_seconds: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.load.requests / self.load.seconds


Samples = dict[tuple[str, int, str], list[Sample]]
"""By task, connections and contestant; one for each round."""


def main() -> None:
    """Measure, and print a table."""
    options = parse_arguments()
    machine.begin()
    for contestant in (one for task in options.tasks for one in taking_part(task, options)):
        if not contestant.needs.exists():
            sys.exit(f"cannot measure: {contestant.name} is not installed: `make bench-peers` does it")
    samples: Samples = {}
    refusals: list[str] = []
    failure = ""
    try:
        measure_all(options, samples, refusals)
    except (LoadError, ServerError) as error:
        failure = f"failed: {error}"
    except KeyboardInterrupt:
        sys.exit("interrupted; all servers are ended")
    console = Console(highlight=False)
    console.print("; ".join(f"{name} {value}" for name, value in machine.description().items()), soft_wrap=True)
    console.print()
    show_table(COLUMNS, rows(samples), console)
    for refusal in dict.fromkeys(refusals):
        console.print(refusal, soft_wrap=True)
    sys.exit(failure or 0)


def measure_all(options: argparse.Namespace, samples: Samples, refusals: list[str]) -> None:
    """All rounds of all tasks; what was measured before a failure is in `samples`, too."""
    status = Console(stderr=True, highlight=False)
    os.sched_setaffinity(0, machine.part_cpus().load)  # us, and the load, which inherits it
    with TemporaryDirectory(prefix="peers-") as folder:
        write_large_model(large := Path(folder) / "large.onnx")
        for number in range(1, options.rounds + 1):
            for task in options.tasks:
                for contestant in taking_part(task, options):
                    status.print(f"round {number}, {task}: {contestant.name}")
                    found = measured(contestant, task, large, options.seconds, refusals)
                    for connections, sample in found.items():
                        samples.setdefault((task, connections, contestant.name), []).append(sample)


def taking_part(task: str, options: argparse.Namespace) -> list[Contestant]:
    """Those of a task's contestants that are wanted."""
    return [contestant for contestant in TASKS[task] if contestant.name in options.contestants]


def measured(contestant: Contestant, task: str, large: Path, seconds: int, refusals: list[str]) -> dict[int, Sample]:
    """Start a server, warm it up, ask it over some numbers of connections, and end it."""
    names = {"three members": ("linear", "svm", "mlp")}.get(task, ("mlp",))
    models = [large] if task == "large" else [MODELS / f"{name}.onnx" for name in names]
    question, samples = contestant.question, {}
    with TemporaryDirectory(prefix="p") as folder:
        began = time.monotonic()
        with running(contestant, models[0], Path(folder), expected_probabilities(*models)) as (url, pid):
            ready_seconds = time.monotonic() - began
            with suppress(LoadError):
                load(url, max(CONNECTIONS), WARM_UP_SECONDS, question)
            for connections in CONNECTIONS:
                before = sum(one.cpu_seconds for one in process_tree(pid))
                try:
                    done = load(url, connections, seconds, question)
                except LoadError as error:
                    if contestant.name.startswith("ours"):
                        raise
                    refusals.append(f"{contestant.name}, {task}, {connections} connections: {error}")
                    continue
                used = process_tree(pid)
                cpu_us = (sum(one.cpu_seconds for one in used) - before) / done.requests * 1e6
                mb = proportional_mb([one.pid for one in used])
                samples[connections] = Sample(done, cpu_us, len(used), mb, ready_seconds)
    return samples


def rows(samples: Samples) -> list[list[str]]:
    """Medians over the rounds, and ratios taken round by round."""
    ordered = sorted(samples.items(), key=lambda item: (list(TASKS).index(item[0][0]), item[0][1]))
    return [
        [
            task,
            str(connections),
            name,
            f"{median(one.rate for one in rounds):,.0f}",
            ratios(rounds, samples.get((task, connections, "ours"))),
            ratios(rounds, samples.get((task, connections, "constant"))),
            f"{median(one.load.p50_ms for one in rounds):.2f}",
            f"{median(one.load.p99_ms for one in rounds):.2f}",
            f"{median(one.cpu_us for one in rounds):,.0f}",
            f"{median(one.processes for one in rounds):.0f}",
            f"{median(one.mb for one in rounds):,.0f}",
            f"{median(one.ready_seconds for one in rounds):.1f}",
        ]
        for (task, connections, name), rounds in ordered
    ]


def ratios(rounds: list[Sample], others: list[Sample] | None) -> str:
    """Requests/s relative to another server's in the same round."""
    if others is None:
        return "-"
    found = [one.rate / other.rate for one, other in zip(rounds, others, strict=False)]
    return ", ".join(f"{value:.3f}" for value in (min(found), median(found), max(found)))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer_bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="of one measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="medians are over these (default: %(default)s)")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="default: all")
    names = list(dict.fromkeys(one.name for task in TASKS.values() for one in task))
    parser.add_argument("--contestants", nargs="+", choices=names, default=names, help="default: all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
