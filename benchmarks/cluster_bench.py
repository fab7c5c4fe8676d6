"""Rows/s of the batch job on the clusters of `batch/docker-compose.yml`, with more and more workers of half a CPU each.

Half a CPU, so that four workers fit into two: on a machine of two, what a worker adds can be seen only when a worker is
less than a CPU. Counts take turns, 1 2 4 1 2 4, within one cluster, whose workers are waited for. The time is that of
the command `python -m batch.job run`: start and end of the job are in it, those of the cluster are not. The job and the
scheduler (of Spark, the driver and the master) are not limited.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple
from uuid import uuid4

from rich.console import Console

from benchmarks.batch_bench import write_data
from benchmarks.support import machine
from benchmarks.support.report import show_table
from benchmarks.support.servers.signals import exit_on_sigterm
from tests.support.processes import free_port

ROOT = Path(__file__).parent.parent
WORKER_CPUS = 0.5
DEADLINE_SECONDS = 180  # for the workers to be there
COLUMNS = ("engine", "workers", "rows/s (min, median, max)", "/ one worker", "of the ideal", "rows/s while it predicts")


class Cluster(NamedTuple):
    """Where the number of workers is asked: a service, and code that prints it there."""

    service: str
    counted_by: str


CLUSTERS = {
    "dask": Cluster(
        "batch-dask-scheduler",
        "import json, urllib.request as u; "
        "print(json.load(u.urlopen('http://127.0.0.1:8787/json/counts.json'))['workers'] // 2)",  # two processes each
    ),
    "spark": Cluster(
        "batch-spark-master",
        "import json, urllib.request as u; print(json.load(u.urlopen('http://127.0.0.1:8080/json/'))['aliveworkers'])",
    ),
}


class Run(NamedTuple):
    """One job: rows/s from its start to its end, and those it reports itself, without its start."""

    whole: float
    predicting: float


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--engines", nargs="+", choices=CLUSTERS, default=list(CLUSTERS))
    options = parser.parse_args()
    exit_on_sigterm()
    console, table = Console(), []
    console.print("; ".join(f"{name} {value}" for name, value in machine.description().items()), soft_wrap=True)
    with TemporaryDirectory() as folder, Console(stderr=True).status("writing data") as status:
        data = write_data(Path(folder) / "data", options.rows)
        for engine in options.engines:
            runs: dict[int, list[Run]] = {count: [] for count in options.workers}
            status.update(f"{engine}: images and containers")
            with cluster(engine, Path(folder)) as environment:
                compose(environment, "cp", str(data), f"batch-{engine}:/data/scans")
                for number in range(options.rounds):
                    for count in options.workers:
                        status.update(f"{engine}, round {number + 1}, workers: {count}")
                        scale(environment, engine, count)
                        runs[count].append(measured(environment, engine, options.rows))
                        print(engine, count, *(f"{rate:,.0f}" for rate in runs[count][-1]), file=sys.stderr, flush=True)
            table += table_rows(engine, runs)
    show_table(COLUMNS, table, console)


@contextmanager
def cluster(engine: str, folder: Path) -> Iterator[dict[str, str]]:
    """The environment of `docker compose` for a cluster that is removed in the end."""
    override = folder / f"{engine}.yml"
    override.write_text(json.dumps({"services": {f"batch-{engine}-worker": {"cpus": WORKER_CPUS}}}))
    environment = {
        "COMPOSE_PROJECT_NAME": f"bench-{uuid4().hex[:8]}",
        "COMPOSE_FILE": f"docker-compose.yml:{override}",
        "COMPOSE_PROFILES": engine,
        "BATCH_PORT": str(free_port()),
    }
    try:
        compose(environment, "up", "--build", "--wait", f"batch-{engine}")
        yield environment
    finally:
        compose(environment, "down", "--volumes", "--rmi=local", "--timeout=0")


def compose(environment: dict[str, str], *arguments: str) -> str:
    """What `docker compose` prints.

    Raises:
        SystemExit: it failed; with the end of what it said
    """
    done = subprocess.run(
        ["docker", "compose", *arguments], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"docker compose {' '.join(arguments)}: {(done.stdout + done.stderr)[-2_000:]}")
    return done.stdout


def scale(environment: dict[str, str], engine: str, count: int) -> None:
    """Have so many workers, and wait until the cluster knows exactly these."""
    worker = f"batch-{engine}-worker"
    compose(environment, "up", "--detach", "--no-deps", "--no-recreate", "--scale", f"{worker}={count}", worker)
    service, code = CLUSTERS[engine]
    deadline = time.monotonic() + DEADLINE_SECONDS
    while int(compose(environment, "exec", "--no-TTY", service, "python", "-c", code)) != count:
        if time.monotonic() > deadline:
            sys.exit(f"{engine}: there were not {count} workers within {DEADLINE_SECONDS} s")
        time.sleep(1)


def measured(environment: dict[str, str], engine: str, rows: int) -> Run:
    """Run a job, and check that no row is missing."""
    output = f"/data/{uuid4().hex}"
    command = ("python", "-m", "batch.job", "run", "--input=/data/scans", f"--output={output}", f"--engine={engine}")
    exec_in = ("exec", "--no-TTY", f"batch-{engine}")
    started = time.perf_counter()
    compose(environment, *exec_in, *command)
    seconds = time.perf_counter() - started
    progress = json.loads(compose(environment, *exec_in, "cat", f"{output}/_progress.json"))
    if (progress["status"], progress["rows_out"]) != ("done", rows):
        sys.exit(f"{engine}: {progress['status']}, {progress['rows_out']:,} answers to {rows:,} rows")
    compose(environment, *exec_in, "rm", "-r", output)
    return Run(rows / seconds, progress["rows_per_second"])


def table_rows(engine: str, runs: dict[int, list[Run]]) -> list[list[str]]:
    """Rows/s, and how many times those of the fewest workers: what the ideal line gives is their number."""
    least = min(runs)
    base = median(run.whole for run in runs[least])
    found = []
    for count, rounds in runs.items():
        speeds = [run.whole for run in rounds]
        times = median(speeds) / base
        found.append(
            [
                engine,
                str(count),
                ", ".join(f"{value:,.0f}" for value in (min(speeds), median(speeds), max(speeds))),
                f"{times:.2f}",
                f"{times * least / count:.0%}",
                f"{median(run.predicting for run in rounds):,.0f}",
            ]
        )
    return found


if __name__ == "__main__":
    main()
