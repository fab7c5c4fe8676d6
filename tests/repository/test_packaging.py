"""Locks and Makefile: what a user meets before the first line of our Python."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patterns.front_services import FRONT_SERVICES
from tests.support.patterns.start import free_ports
from tests.support.processes import PATTERNS, ROOT, listens, output_of
from tests.support.terminal import CTRL_C, terminal

IMAGE_LOCKS = [lock for pattern in PATTERNS for lock in sorted((ROOT / pattern).glob("requirements*.txt"))]
LOCKS = [ROOT / "requirements.txt", ROOT / "requirements-run.txt", *IMAGE_LOCKS]
NOT_IN_AN_IMAGE = {"scikit-learn", "scipy", "skl2onnx", "onnx", "pytest", "hypothesis", "mypy", "ruff", "uv"}
ENTRY = r"[a-z0-9-]+==[0-9][^ \\]*( ; [^\\]+?)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n?"


def pins(lock: Path) -> set[str]:
    """`name==version` of each package in a lock; its marker may be narrower in a lock that has less reason for it."""
    return set(re.findall(r"^([a-z0-9-]+==\S+)", lock.read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_a_lock_holds_pinned_hashed_packages_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    for entry in re.split(r"\n(?=\S)", text):
        if not entry.startswith("#"):
            assert re.fullmatch(ENTRY, entry)


@pytest.mark.parametrize("lock", LOCKS[1:], ids=lambda lock: str(lock.relative_to(ROOT)))
def test_the_locks_agree_so_that_one_environment_holds_them_all(lock: Path) -> None:
    other = {pin for pin in pins(lock) - pins(ROOT / "requirements.txt") if not pin.startswith("psutil==")}
    assert other == set()  # kserve's client, for the tests alone, wants a psutil that has no wheel for ARM


@pytest.mark.parametrize("lock", IMAGE_LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_the_lock_of_an_image_holds_what_serves_and_nothing_else(lock: Path) -> None:
    names = {pin.split("==")[0] for pin in pins(lock)}
    assert "fastapi" in names
    assert not names & NOT_IN_AN_IMAGE


def test_make_alone_lists_every_target_and_each_pattern_with_its_port() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony
    for target in {*phony[1].split(), *PATTERNS} - {"help", "$(PATTERNS)"}:
        assert re.search(rf"^  make {target} +\w+", listed, flags=re.MULTILINE), target
    for pattern in PATTERNS:
        title = (ROOT / pattern / "README.md").read_text().splitlines()[0].partition(": ")[2]
        assert re.search(
            rf"^  make {pattern} +port {FRONT_SERVICES[pattern].port}: {title}$", listed, flags=re.MULTILINE
        )


@pytest.mark.parametrize(
    ("python", "complaint"),
    [
        ("echo Python 3.9.2; exit 1", "Python 3.9.2 is too old"),
        ('case "$*" in *ensurepip*) exit 1;; esac', "install python3-venv"),
        (None, "install Python 3.11 or newer"),
    ],
)
def test_make_says_what_the_machine_lacks(tmp_path: Path, python: str | None, complaint: str) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    if python:
        (tmp_path / "python").write_text(f"#!/bin/sh\n{python}\n")
        (tmp_path / "python").chmod(0o755)
    made = subprocess.run(
        ["make", "install", f"PYTHON={tmp_path / 'python'}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert made.returncode == 2
    assert complaint in made.stderr


@pytest.mark.full
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}, "cannot install: no package index can be"),
        ({"PIP_NO_INDEX": "1"}, "ERROR: Could not find a version that satisfies the requirement"),
    ],
    ids=["without a network", "for another reason"],
)
def test_an_install_that_fails_says_why(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    for file in ("Makefile", "requirements-run.txt", "web_single/requirements.txt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    made = subprocess.run(
        ["make", "web_single"],
        cwd=tmp_path,
        env=clean | {"PIP_CONFIG_FILE": os.devnull} | settings,
        capture_output=True,
        text=True,
    )
    lines = [line for line in made.stderr.splitlines() if not line.startswith("make: ")]
    assert lines[0].startswith(said)
    assert (len(lines) == 1) == ("PIP_INDEX_URL" in settings)


@pytest.mark.full
def test_after_make_install_the_first_start_of_a_pattern_installs_nothing_and_does_not_say_so(tmp_path: Path) -> None:
    for file in ("Makefile", "requirements-run.txt", "web_single/requirements.txt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / ".venv").mkdir()
    for name in ("bin", "include", "lib", "pyvenv.cfg"):
        (tmp_path / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    installed = tmp_path / ".venv" / ".installed-web_single"
    assert output_of("make", str(installed.relative_to(tmp_path)), folder=tmp_path, PIP_NO_INDEX="1") == ""
    assert installed.exists()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which nothing is installed at first; that each lock is enough by itself is `test_copy.py`'s."""
    clone = tmp_path_factory.mktemp("fresh") / "clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    return clone


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_make_pattern_serves_from_a_fresh_clone_and_ctrl_c_ends_everything(clone: Path, pattern: str) -> None:
    ports = free_ports(pattern)
    port = ports[f"{pattern.upper()}_PORT"]
    with terminal("make", pattern, folder=clone, **{name: str(number) for name, number in ports.items()}) as screen:
        screen.wait_for("ready: ", seconds=240)
        assert FRONT_SERVICES[pattern].read(port)["digit"] == 7
        screen.press(CTRL_C)
        assert screen.exit_status() == 0
        assert "make:" not in screen.shown
        assert not any(map(listens, ports.values()))


OWN = ("LABEL", "ENV", "EXPOSE", "CMD", "ENTRYPOINT")
"""The instructions of a Dockerfile that say what this pattern is."""
BESIDES = {
    "asynchronous": ["RUN install --directory --owner=10001 --group=10001 /results"],
    "batch": [
        "ARG REQUIREMENTS=requirements.txt",
        "ARG REQUIREMENTS",
        "COPY PATTERN/${REQUIREMENTS} requirements.txt",
        "RUN if [ ",
        "RUN mkdir /data /state",
    ],
}
"""How else a Dockerfile begins a line that web_single's does not have."""


def instructions(pattern: str) -> list[str]:
    """Those that all patterns share: without comments, and with PATTERN for the name."""
    text = re.sub(r"^#.*\n", "", (ROOT / pattern / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r" *\\\n *", " ", text).replace(pattern, "PATTERN").splitlines()
    return [line for line in lines if line and not line.startswith(OWN)]


@pytest.mark.parametrize("pattern", [name for name in PATTERNS if name != "web_single"])
def test_dockerfiles_differ_only_in_what_a_pattern_is(pattern: str) -> None:
    """A copied folder needs its own; six copies of the rest must not drift apart."""
    own, shared = instructions(pattern), instructions("web_single")
    added = tuple(BESIDES.get(pattern, ())) or ("\n",)
    left = [line for line in own if not line.startswith(added)]
    if pattern == "batch":  # its lock is an argument, and a job has no port to check
        shared = [line for line in shared if line != "COPY PATTERN/requirements.txt ." and "HEALTHCHECK" not in line]
    assert left == shared
