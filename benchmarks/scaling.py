"""What threads, processes, replicas and the batch bound bring on this machine: `python -m benchmarks.scaling`

Servers and load share all CPUs here, as they do on a small machine, so only the ratios mean something: each is taken
within one round to one process with one thread, which is what MODEL_THREADS=1 gives.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.support.large_model import write_large_model
from benchmarks.support.load.wrk import Load, LoadError, load
from benchmarks.support.machine import begin, description
from benchmarks.support.report import markdown
from benchmarks.support.rounds import SMALL_MODEL, WARM_UP_SECONDS
from benchmarks.support.servers.replicas import SETTINGS, serving
from benchmarks.support.servers.start import ServerError

COLUMNS = ("model", "setting", "connections", "requests/s", "/ one process (min, median, max)", "p50 ms", "p99 ms")


class Case(NamedTuple):
    """What is measured in each round."""

    model: str
    connections: int
    setting: str


Loads = dict[Case, list[Load]]
"""One of each round."""


def main() -> None:
    """Measure all settings in turn, round by round, and print a table and what to make of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="of one measurement (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="medians are over these (default: 3)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32], help="default: 1 32")
    arguments = parser.parse_args()
    begin()
    loads: Loads = {}
    try:
        with TemporaryDirectory() as folder:
            write_large_model(large := Path(folder) / "large.onnx")
            for name, model in (("small", SMALL_MODEL), ("large", large)):
                measure(name, model, Path(folder), arguments, loads)
    except (LoadError, ServerError) as error:
        sys.exit(f"failed: {error}")
    print("; ".join(f"{name} {value}" for name, value in description().items()), end="\n\n")
    print(markdown(COLUMNS, [row(case, loads) for case in loads]), end="\n\n")
    print("\n".join(advice(loads)))


def measure(name: str, model: Path, folder: Path, arguments: argparse.Namespace, loads: Loads) -> None:
    """Add what each setting does with this model."""
    with ExitStack() as stack:
        urls = {setting.name: stack.enter_context(serving(setting, model, folder)) for setting in SETTINGS}
        for url in urls.values():
            load(url, max(arguments.connections), WARM_UP_SECONDS)
        for connections in arguments.connections:
            for number in range(arguments.rounds):
                for setting, url in urls.items():
                    print(f"{name}, {connections} connections, round {number + 1}: {setting}", file=sys.stderr)
                    rounds = loads.setdefault(Case(name, connections, setting), [])
                    rounds.append(load(url, connections, arguments.seconds))
                    for log in folder.glob("*.log"):
                        os.truncate(log, 0)


def row(case: Case, loads: Loads) -> tuple[str, ...]:
    """A row of the table: medians over the rounds."""
    ratios, rounds = gains(case, loads), loads[case]
    return (
        case.model,
        case.setting,
        str(case.connections),
        f"{median(one.requests / one.seconds for one in rounds):,.0f}",
        ", ".join(f"{ratio:.2f}" for ratio in (min(ratios), median(ratios), max(ratios))),
        f"{median(one.p50_ms for one in rounds):.2f}",
        f"{median(one.p99_ms for one in rounds):.2f}",
    )


def gains(case: Case, loads: Loads) -> list[float]:
    """Requests/s relative to one process, round by round."""
    pairs = zip(loads[case], loads[case._replace(setting=SETTINGS[0].name)], strict=True)
    return [one.requests / one.seconds / (base.requests / base.seconds) for one, base in pairs]


def advice(loads: Loads) -> Iterator[str]:
    """When each setting is the one to turn, and what it brought here."""
    for setting in SETTINGS[1:]:
        found = [
            f"{case.model} model, {case.connections} connections: {median(gains(case, loads)):.2f}"
            for case in loads
            if case.setting == setting.name
        ]
        yield f"- **{setting.name}**: {setting.turn}. Here, {'; '.join(found)} times."


if __name__ == "__main__":
    main()
