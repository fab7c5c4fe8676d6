"""The images build for ARM machines, too: no Dockerfile names an architecture, and every package has a wheel."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.processes import PATTERNS, ROOT

UV = Path(sys.executable).with_name("uv")
LOCKS = sorted(file for pattern in PATTERNS for file in (ROOT / pattern).glob("requirements*.txt"))
DOCKERFILES = [ROOT / pattern / "Dockerfile" for pattern in PATTERNS]
SOURCES = ("pyspark",)
"""Packages without a wheel that need no compiler, either."""


def missing_wheels(locks: Sequence[Path], folder: Path) -> str:
    """What uv says of the packages that have no wheel for the images' Python on ARM, by the index alone; or nothing."""
    found = {version for file in DOCKERFILES for version in re.findall(r"FROM python:([\d.]+)", file.read_text())}
    (python,) = found
    command: list[str | Path] = [
        UV,
        "pip",
        "compile",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        f"--python-version={python}",
    ]
    command += [f"--no-binary={name}" for name in SOURCES]
    command += ["--python-platform=aarch64-manylinux_2_28", "--output-file=out.txt", *locks]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    return done.stderr if done.returncode else ""


@pytest.mark.full
def test_every_package_of_an_image_has_a_wheel_for_arm(tmp_path: Path) -> None:
    assert missing_wheels(LOCKS, tmp_path) == ""
    (without := tmp_path / "without.txt").write_text("intel-openmp==2024.2.1\n")
    assert "intel-openmp" in missing_wheels([without], tmp_path)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_no_dockerfile_names_an_architecture(dockerfile: Path) -> None:
    assert not re.findall(r"amd64|x86|aarch64|arm64|--platform", dockerfile.read_text())
