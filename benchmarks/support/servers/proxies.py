"""What the benchmarks of proxies share: a proxy on one CPU, what it calls and the load on the other."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console

from benchmarks.support.load.questions import Question
from benchmarks.support.load.wrk import Load, load
from benchmarks.support.machine import begin, description, on_cpus, part_cpus
from benchmarks.support.report import show_table
from benchmarks.support.servers.start import cpu_seconds
from tests.support.processes import answers, wait_until
from tests.support.service_process import Server
from tests.support.stack import stack_of

QUIET = {"log_level": "WARNING"}
"""Of what is not measured."""


class Sample(NamedTuple):
    """What the load saw, and the CPU seconds of the server for each request."""

    load: Load
    cpu: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.load.requests / self.load.seconds


def prepare(program: str, description_: str) -> Namespace:
    """Read the arguments, complain of the machine, and move to the load's CPU."""
    parser = ArgumentParser(prog=f"python -m {program}", description=description_.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=3, help="of one measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="medians are over these (default: %(default)s)")
    arguments = parser.parse_args()
    begin()
    os.sched_setaffinity(0, part_cpus().load)
    print("; ".join(f"{name} {value}" for name, value in description().items()))
    return arguments


def show(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table on stdout."""
    print()
    show_table(columns, rows, Console(file=sys.stdout, highlight=False))


@contextmanager
def proxy(pattern: str, **settings: object) -> Iterator[Server]:
    """A pattern's proxy as it is released, on the server's CPU, once it answers; whom it calls is in its settings."""
    with stack_of(pattern) as these, on_cpus(part_cpus().server):
        server = these.launch(pattern, **settings)
        wait_until(lambda: answers(f"{server.url}/health/live"))
        with on_cpus(part_cpus().load):
            yield server


def sample(server: Server, question: Question, connections: int, seconds: int) -> Sample:
    """Ask over and over, as quickly as the answers come back."""
    before = cpu_seconds(server.process.pid)
    done = load(f"{server.url}{question.path}", connections, seconds, question)
    return Sample(done, (cpu_seconds(server.process.pid) - before) / done.requests)
