"""Does memory grow, does a job get lost? `make soak`: all six patterns for ten minutes under mixed load.

Each runs from its Procfile, as `make PATTERN` starts it, on free ports and from a copy. Resident memory of each process
is read every second; the mean of the first minute after the warm-up stands beside that of the last.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pyarrow as pa
from pyarrow import parquet
from rich.console import Console

from benchmarks.support.load.mixed import INPUT, SEVEN, Counts, ask_all
from benchmarks.support.report import show_table
from benchmarks.support.servers.process_tree import process_tree
from benchmarks.support.servers.signals import exit_on_sigterm
from tests.support.patterns.start import copied, started
from tests.support.processes import PATTERNS

FLAT = 1.05
"""Memory that has grown by less than this factor is flat."""
WINDOW_SECONDS = 60
KEPT = dict.fromkeys(("IMAGE_TTL_SECONDS", "JOB_TTL_SECONDS", "RESULT_TTL_SECONDS"), "30")
"""What is stored expires within the warm-up, so that Redis holds as much in the first window as in the last."""
ROWS = 200
"""Of the data set of each batch run."""
MEMORY_COLUMNS = ("pattern", "process", "MB, minute after warm-up", "MB, last minute", "last / first", "flat")
ERROR_COLUMNS = ("pattern", "kind", "asked", "wrong")


class Run(NamedTuple):
    """A pattern that runs: its address, the pid of what runs it, and the names of its processes by pid."""

    url: str
    pid: int
    names: dict[int, str]


Memory = dict[tuple[str, str], dict[int, float]]
"""By pattern and process: MB by second. One that ends and is started again has another pid, and no more seconds."""


def main() -> None:
    """Run, and print both tables; exit status 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="after the start (default: %(default)s)")
    parser.add_argument("--patterns", nargs="+", choices=PATTERNS, default=PATTERNS, help="default: all")
    options = parser.parse_args()
    exit_on_sigterm()
    with TemporaryDirectory(prefix="soak-") as folder, ExitStack() as stack:
        runs = {name: stack.enter_context(running(name, Path(folder))) for name in options.patterns}
        print(f"all are ready; this takes {options.seconds} s; Ctrl-C ends everything", file=sys.stderr)
        try:
            counts, memory = asyncio.run(soak(runs, options.seconds))
        except KeyboardInterrupt:
            sys.exit("interrupted")
    console = Console(highlight=False)
    show_table(MEMORY_COLUMNS, memory_rows(memory, options.seconds), console)
    console.print()
    show_table(ERROR_COLUMNS, error_rows(counts), console)
    sys.exit(1 if counts.wrong else 0)


@contextmanager
def running(pattern: str, folder: Path) -> Iterator[Run]:
    """A pattern that runs from a copy."""
    (home := folder / pattern).mkdir()
    copied(pattern, home)
    if pattern == "batch":
        write_scans(home / ".state" / "batch" / "data" / INPUT)
    with started(pattern, home, LOG_LEVEL="ERROR", **KEPT) as (process, ports):
        if process.poll() is not None:
            sys.exit(f"{pattern} does not start")
        pid_files = (home / ".state" / pattern).glob("*.pid")
        pids = {int(file.read_text()): file.stem for file in pid_files}
        yield Run(f"http://127.0.0.1:{ports[f'{pattern.upper()}_PORT']}", process.pid, pids)


def write_scans(folder: Path) -> None:
    """A small data set of pictures."""
    folder.mkdir(parents=True)
    table = pa.table({"id": list(range(ROWS)), "image": [SEVEN] * ROWS})
    parquet.write_table(table, folder / "scans.parquet")


async def soak(runs: dict[str, Run], seconds: int) -> tuple[Counts, Memory]:
    """Ask all and read the memory meanwhile."""
    memory: Memory = {}
    reading = asyncio.create_task(read_memory(runs, memory))
    counts = await ask_all({pattern: run.url for pattern, run in runs.items()}, seconds)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    return counts, memory


async def read_memory(runs: dict[str, Run], memory: Memory) -> None:
    """Every second, until it is cancelled: the processes that the Procfiles name."""
    begun = time.monotonic()
    while True:
        second = int(time.monotonic() - begun)
        for pattern, run in runs.items():
            for process in process_tree(run.pid):
                if name := run.names.get(process.pid):
                    memory.setdefault((pattern, name), {})[second] = process.resident_mb
        await asyncio.sleep(1)


def memory_rows(memory: Memory, seconds: int) -> list[list[str]]:
    """A row for each process; the first minute is the second one, since the very first is the warm-up."""
    window = min(WINDOW_SECONDS, max(1, seconds // 4))
    first, last = range(window, 2 * window), range(seconds - window, seconds)
    rows = []
    for (pattern, name), samples in memory.items():
        windows = [[mb for second, mb in samples.items() if second in part] for part in (first, last)]
        if all(windows):
            before, after = map(mean, windows)
            flat = "yes" if after < before * FLAT else "no"
            rows.append([pattern, name, f"{before:.1f}", f"{after:.1f}", f"{after / before:.3f}", flat])
        else:
            rows.append([pattern, name, "-", "-", "-", "did not run all the time"])
    return rows


def error_rows(counts: Counts) -> list[list[str]]:
    """A row for each kind of request."""
    rows = []
    for (pattern, kind), asked in sorted(counts.asked.items()):
        wrong = [f"{number} times {got}" for (*key, got), number in counts.wrong.items() if key == [pattern, kind]]
        rows.append([pattern, kind, f"{asked:,}", ", ".join(wrong) or "0"])
    return rows


if __name__ == "__main__":
    main()
