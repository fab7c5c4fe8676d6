"""How quick is web_single beside a constant ASGI application and a minimal FastAPI one? `python -m benchmarks.online`

A failed request ends the benchmark, and however it ends, it ends its servers.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.support.contestants import MODELS, NAMES
from benchmarks.support.load.wrk import LoadError
from benchmarks.support.machine import Cpus, description, obstacle, part_cpus, warnings
from benchmarks.support.report import Report, show
from benchmarks.support.rounds import Plan, measure_model
from benchmarks.support.servers.signals import exit_on_sigterm
from benchmarks.support.servers.start import ServerError


def main() -> None:
    """Measure as the arguments say, print the figures, and write them where `--json` says."""
    arguments = parse_arguments()
    if reason := obstacle():
        sys.exit(f"cannot measure: {reason}")
    options = (arguments.connections, arguments.models, arguments.contestants)
    plan = Plan(arguments.seconds, arguments.rounds, *options)
    if not plan.total_seconds:
        sys.exit("nothing to measure: these contestants take no part with this model")
    exit_on_sigterm()
    console = Console(stderr=True, highlight=False)
    cpus = part_cpus()
    report = Report(machine=description(), warnings=warnings(cpus))
    for warning in report.warnings:
        console.print(f"[yellow]warning:[/] {warning}", soft_wrap=True)
    minutes, seconds = divmod(plan.total_seconds, 60)
    console.print(f"This takes about {minutes} min {seconds} s; Ctrl-C ends everything.")
    try:
        measure(plan, cpus, report, console)
    except KeyboardInterrupt:
        sys.exit("interrupted; all servers are ended")
    except (LoadError, ServerError) as error:
        sys.exit(f"failed: {error}")
    show(report, Console(highlight=False))
    if arguments.json:
        arguments.json.write_text(report.model_dump_json(indent=2) + "\n")


def measure(plan: Plan, cpus: Cpus, report: Report, console: Console) -> None:
    """Measure every model, with a bar that shows how far it is."""
    os.sched_setaffinity(0, cpus.load)  # us, and the load, which inherits it
    columns = (TextColumn("{task.description:50}"), BarColumn(), TimeRemainingColumn())
    with (
        TemporaryDirectory() as folder,
        Progress(*columns, console=console, refresh_per_second=2, transient=True) as progress,
    ):
        task = progress.add_task("", total=plan.total_seconds)
        begun = 0.0

        def step(what: str, seconds: float) -> None:
            nonlocal begun
            progress.update(task, completed=begun, description=what)
            begun += seconds

        for model in plan.models:
            measure_model(plan, model, cpus, Path(folder), report, step)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.online", description=__doc__)
    parser.add_argument("--seconds", type=positive, default=5, help="of one measurement, whole (default: 5)")
    parser.add_argument("--rounds", type=positive, default=3, help="medians are over these (default: 3)")
    parser.add_argument("--connections", type=positives, default=[1, 32, 128], help="default: 1,32,128")
    parser.add_argument("--models", type=some_of(MODELS), default=MODELS, help="default: small,large")
    parser.add_argument(
        "--contestants", type=some_of(NAMES), default=NAMES, help=f"of {','.join(NAMES)} (default: all)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement there")
    return parser.parse_args()


def positive(text: str) -> int:
    """A whole number above 0."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def positives(text: str) -> list[int]:
    """Such numbers, parted by commas."""
    return [positive(part) for part in text.split(",")]


def some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """What reads some of these names, parted by commas."""

    def read(text: str) -> list[str]:
        if unknown := set(text.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected {', '.join(known)}")
        return text.split(",")

    return read


if __name__ == "__main__":
    main()
