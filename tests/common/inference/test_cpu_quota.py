"""How many cores a process may use: the cgroup's quota, rounded up, but never more than its CPU affinity."""

import os
import sys
from pathlib import Path

import pytest

from common.inference.cpu_quota import cpu_quota
from tests.support.processes import output_of

CORES = 64


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine bigger than those that run tests."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CORES)))


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("cpu_max", "cpu.max").replace("cfs", "cpu.cfs")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    return folder


@pytest.mark.parametrize(
    ("cpu_max", "cores"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("12800000 100000", CORES),
        ("max 100000", CORES),
        ("", CORES),
    ],
)
def test_the_quota_of_cgroup_v2_is_rounded_up(tmp_path: Path, cpu_max: str, cores: int) -> None:
    assert cpu_quota(write(tmp_path, cpu_max=cpu_max)) == cores


@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("250000", 3), ("10000", 1), ("-1", CORES)])
def test_the_quota_of_cgroup_v1_is_rounded_up(tmp_path: Path, quota: str, cores: int) -> None:
    assert cpu_quota(write(tmp_path, cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")) == cores


def test_quota_is_the_affinity_without_a_cgroup(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "nothing") == CORES


def test_quota_is_the_affinity_when_that_is_smaller(tmp_path: Path) -> None:
    """Asked of a process that is really bound to one core."""
    write(tmp_path, cpu_max="800000 100000")
    code = (
        f"from pathlib import Path; from common.inference.cpu_quota import *; print(cpu_quota(Path({str(tmp_path)!r})))"
    )
    assert output_of("taskset", "--cpu-list", "0", sys.executable, "-c", code) == "1"
