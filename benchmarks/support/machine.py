"""What is measured on: one CPU for the server, another for the load, so that they do not take it from each other."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from benchmarks.support.servers.signals import exit_on_sigterm

LIBRARIES = ("uvicorn", "uvloop", "httptools", "fastapi", "starlette", "pydantic", "onnxruntime", "numpy", "grpcio")
BUSY = 0.3
"""A load average above this spoils what is measured."""


class Cpus(NamedTuple):
    """The CPUs of the server and those of the load; both are all of them where there are too few to part them."""

    server: set[int]
    load: set[int]

    @property
    def pinned(self) -> bool:
        """Whether server and load have a CPU each."""
        return self.server != self.load


@cache
def part_cpus() -> Cpus:
    """The first CPU for the server, the second for the load, also once this process has moved to one of them."""
    available = os.sched_getaffinity(0)
    if len(available) < 2:
        return Cpus(available, available)
    first, second = sorted(available)[:2]
    return Cpus({first}, {second})


@contextmanager
def on_cpus(cpus: set[int]) -> Iterator[None]:
    """Processes that this thread starts meanwhile run on these CPUs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def obstacle() -> str | None:
    """Why nothing can be measured here."""
    if not shutil.which("wrk"):
        return "the load generator wrk is not installed: on Debian and Ubuntu, `apt install wrk`"
    if not Path("/proc/self/stat").exists():
        return "a server's CPU time and memory are read from /proc, which only Linux has"
    return None


def begin() -> None:
    """End the program where nothing can be measured, warn where the figures will be poor, and let SIGTERM end it."""
    if reason := obstacle():
        sys.exit(f"cannot measure: {reason}")
    exit_on_sigterm()
    if (busy := os.getloadavg()[0]) > BUSY:
        print(f"warning: the machine is busy (load average {busy:.2f}): wait until it is below {BUSY}", file=sys.stderr)


def warnings(cpus: Cpus) -> list[str]:
    """What on this machine makes the figures worse than they could be."""
    found = []
    if not cpus.pinned:
        found.append("there is one CPU only: server and load share it, and only ratios mean anything")
    siblings = Path(f"/sys/devices/system/cpu/cpu{min(cpus.server)}/topology/thread_siblings_list")
    if cpus.pinned and siblings.exists() and siblings.read_text().strip() in _written(cpus.server | cpus.load):
        found.append("the two CPUs are threads of one core, and slow each other down")
    if (load := os.getloadavg()[0]) > BUSY:
        found.append(f"the machine is busy (load average {load:.2f}): wait until it is below {BUSY}")
    return found


def description() -> dict[str, str]:
    """The machine and the versions, for the report."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cpus": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
    }


def _written(cpus: set[int]) -> tuple[str, str]:
    """Two CPUs as the kernel writes them."""
    first, second = sorted(cpus)
    return f"{first},{second}", f"{first}-{second}"
