"""The same job through the asynchronous pattern's queue and through those of well-known libraries, one worker each.

All have settings under which a killed worker's job is done again. Their libraries cannot share an environment with this
repository's (they want an older redis-py), so `make bench-queues` gives them one of their own. A Valkey with an
append-only file on disk serves each in turn, A B C A B C, so that a slow minute of the machine falls on all of them.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from redis import Redis
from rich.console import Console

from benchmarks.support import machine
from benchmarks.support.report import show_table
from tests.support.processes import free_port, running, wait_until

ROOT = Path(__file__).parent.parent
OTHERS = ROOT / ".venv-queues" / "bin"
OURS = ("ours", "ours_100_keys", "ours_one_key")
LIBRARIES = ("arq", "taskiq", "dramatiq", "celery")
COLUMNS = ("contestant", "jobs/s", "/ ours (min, median, max)", "p50 ms", "p99 ms")
Figures = dict[str, float]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contestants", default=",".join(OURS + LIBRARIES))
    parser.add_argument("--jobs", type=int, default=4_000, help="in the burst")
    parser.add_argument("--seconds", type=float, default=8.0, help="of 50 jobs/s")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    names = options.contestants.split(",")
    machine.begin()
    if set(names) & {*LIBRARIES} and not OTHERS.exists():
        sys.exit("cannot measure: the other libraries are not installed: `make bench-queues` does it")

    figures: dict[str, list[Figures]] = {name: [] for name in names}
    with TemporaryDirectory() as folder, Console(stderr=True).status("measuring") as status:
        for number in range(options.rounds):
            for name in names:
                status.update(f"round {number + 1}, {name}")
                figures[name].append(measured(name, Path(folder), options.jobs, options.seconds))
    show_table(COLUMNS, rows(figures), Console())


def measured(name: str, folder: Path, jobs: int, seconds: float) -> Figures:
    """One contestant's figures, on an empty Valkey."""
    with valkey(folder / f"{name}-{len(list(folder.iterdir()))}") as url:
        programs = Path(sys.executable).parent if name in OURS else OTHERS
        environment = {"REDIS_URL": url, "PATH": f"{programs}:{os.environ['PATH']}", "LOG_LEVEL": "WARNING"}
        command = f"exec {programs}/python -m benchmarks.queues.worker {name}_queue > /dev/null 2>&1"
        with running("sh", "-c", command, folder=ROOT, PYTHONPATH=str(ROOT), **environment):
            burst = asked(programs, name, jobs, 0, environment)
            steady = asked(programs, name, int(50 * seconds), 50, environment)
    return burst | steady


def asked(programs: Path, name: str, jobs: int, rate: float, environment: dict[str, str]) -> Figures:
    """What the client has measured."""
    command = (str(programs / "python"), "-m", "benchmarks.queues.client", f"{name}_queue", str(jobs), str(rate))
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


@contextmanager
def valkey(folder: Path) -> Iterator[str]:
    """The URL of a Valkey that keeps its data on disk."""
    port = free_port()
    command = (sys.executable, "-m", "common.jobs.run_valkey", str(port), str(folder), "--loglevel", "nothing")
    with running(*command, folder=ROOT), Redis(port=port) as client:
        wait_until(lambda: answers(client))
        yield f"redis://127.0.0.1:{port}/0"


def answers(client: Redis) -> bool:
    """Whether it does."""
    try:
        return bool(client.ping())
    except OSError:
        return False


def rows(figures: dict[str, list[Figures]]) -> list[list[str]]:
    """Medians, and jobs/s relative to ours in the same round."""
    ours = [one["jobs_per_second"] for one in figures.get("ours", [])]
    found = []
    for name, rounds in figures.items():
        speeds = [one["jobs_per_second"] for one in rounds]
        ratios = [speed / our for speed, our in zip(speeds, ours, strict=False)]
        shown = ", ".join(f"{value:.2f}" for value in (min(ratios), median(ratios), max(ratios))) if ratios else "-"
        latencies = [f"{median([one[key] for one in rounds]):.1f}" for key in ("p50_ms", "p99_ms")]
        found.append([name, f"{median(speeds):,.0f}", shown, *latencies])
    return found


if __name__ == "__main__":
    main()
