"""Rows/s and memory of the batch job, Parquet to Parquet, beside plain loops, pandas, Dask and Spark used directly.

Contestants take turns, A B C A B C, so that a slow minute of the machine falls on all of them. Each is a program of its
own; its start and end are in the time. Memory is the largest sum over all of its processes (PSS: what several share
counts once), polled ten times a second.
"""

import argparse
import os
import select
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks.support import machine
from benchmarks.support.report import show_table
from benchmarks.support.servers.signals import exit_on_sigterm
from tests.support.batch.parquet_data import kill, members, memory_mb, pictures

ROOT = Path(__file__).parent.parent
FILES = 8
GROUP_ROWS = 50_000
LOOK_SECONDS = 0.1
BASE = "two_loops"
CONTESTANTS = {
    "arrays": "onnxruntime, arrays in memory, one thread",
    "loop": "pyarrow loop",
    "two_loops": "pyarrow loop, two processes",
    "ours_local": "ours, local",
    "pandas": "pandas + scikit-learn",
    "dask": "Dask",
    "ours_dask": "ours, dask",
    "spark": "Spark, mapInPandas",
    "pandas_on_spark": "Spark, pandas API",
    "ours_spark": "ours, spark",
}
COLUMNS = ("rows", "contestant", "rows/s", "/ two processes (min, median, max)", "MB")


class Run(NamedTuple):
    """One contestant, once."""

    rows_per_second: float
    megabytes: float


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, action="append", help="repeatable; default: 2,000,000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestants", default=",".join(CONTESTANTS))
    parser.add_argument("--folder", type=Path, help="where 300 bytes a row are free; default: TMPDIR")
    options = parser.parse_args()
    exit_on_sigterm()
    if (busy := os.getloadavg()[0]) > machine.BUSY:
        print(f"warning: the machine is busy (load average {busy:.2f})", file=sys.stderr)
    console, table = Console(), []
    libraries = {name: version(name) for name in ("pyarrow", "pandas", "scikit-learn", "dask", "pyspark")}
    about = "; ".join(f"{name} {value}" for name, value in (machine.description() | libraries).items())
    console.print(about, soft_wrap=True)
    names = options.contestants.split(",")
    for rows in options.rows or [2_000_000]:
        runs: dict[str, list[Run]] = {name: [] for name in names}
        with TemporaryDirectory(dir=options.folder) as folder, Console(stderr=True).status("writing data") as status:
            source = write_data(Path(folder) / "data", rows)
            for number in range(options.rounds):
                for name in names:
                    status.update(f"{rows:,} rows, round {number + 1}, {CONTESTANTS[name]}")
                    runs[name].append(measured(name, source, Path(folder) / "out", rows))
                    print(name, *(f"{figure:,.0f}" for figure in runs[name][-1]), file=sys.stderr, flush=True)
        table += table_rows(rows, runs)
    show_table(COLUMNS, table, console)


def write_data(folder: Path, rows: int) -> Path:
    """Files that compress to little less than they are: each picture differs from all others."""
    folder.mkdir()
    schema = pa.schema({"id": pa.int64(), "pixels": pa.list_(pa.float32(), 64)})
    for number, ids in enumerate(np.array_split(np.arange(rows), FILES)):
        with pq.ParquetWriter(folder / f"{number}.parquet", schema) as writer:
            for start in range(0, len(ids), GROUP_ROWS):
                some = ids[start : start + GROUP_ROWS]
                flat = pa.array(pictures(len(some), seed=int(some[0])).reshape(-1))
                table = pa.table([pa.array(some), pa.FixedSizeListArray.from_arrays(flat, 64)], schema)
                writer.write_table(table, row_group_size=GROUP_ROWS)
    return folder


def measured(name: str, source: Path, output: Path, rows: int) -> Run:
    """One contestant's figures; its answers are counted."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    if name.startswith("ours_"):
        engine = name.removeprefix("ours_")
        command = ["-m", "batch.job", "run", f"--input={source}", f"--output={output}", f"--engine={engine}"]
    else:
        command = ["-m", "benchmarks.support.batch_contestants", name, str(source), str(output)]
    environment = os.environ | {"WORKERS": "2", "SPARK_MASTER": "local[2]", "OMP_NUM_THREADS": "1"}
    environment |= {"PYSPARK_PYTHON": sys.executable}  # else Spark takes the `python3` of the PATH
    with (output / "_log").open("w+") as log:
        started, peak = time.perf_counter(), 0.0
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            with os.fdopen(os.pidfd_open(process.pid)) as ended:
                while not select.select([ended], [], [], LOOK_SECONDS)[0]:
                    peak = max(peak, memory_mb(process.pid))
            seconds = time.perf_counter() - started
            process.wait()
        finally:
            for member in members(process.pid):
                kill(member)
        log.seek(0)
        said = log.read()
    if process.returncode:
        sys.exit(f"{name}: {said[-2_000:]}")
    if name == "arrays":  # reading the file is not what is measured here
        return Run(rows / float(said), peak)
    files = [file for file in output.rglob("*.parquet") if not file.name.startswith((".", "_"))]
    written = sum(pq.read_metadata(file).num_rows for file in files)
    if written != rows:
        sys.exit(f"{name}: {written:,} answers to {rows:,} rows")
    return Run(rows / seconds, peak)


def table_rows(rows: int, runs: dict[str, list[Run]]) -> list[list[str]]:
    """Medians, and rows/s relative to the plain loop in two processes in the same round."""
    base = [run.rows_per_second for run in runs.get(BASE, [])]
    found = []
    for name, rounds in runs.items():
        speeds = [run.rows_per_second for run in rounds]
        ratios = [speed / other for speed, other in zip(speeds, base, strict=False)]
        shown = ", ".join(f"{value:.2f}" for value in (min(ratios), median(ratios), max(ratios))) if ratios else "-"
        megabytes = f"{median([run.megabytes for run in rounds]):,.0f}"
        found.append([f"{rows:,}", CONTESTANTS[name], f"{median(speeds):,.0f}", shown, megabytes])
    return found


if __name__ == "__main__":
    main()
