"""`cp -r common web_single my-project/` works: without Docker, with Docker, and by the code's own imports."""

import ast
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.docker import composed
from tests.support.patterns.front_services import FRONT_SERVICES
from tests.support.patterns.procfiles import commands
from tests.support.patterns.start import copied, started
from tests.support.processes import PATTERNS, ROOT, listens, output_of


@pytest.fixture(params=PATTERNS)
def pattern(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def copy(pattern: str, tmp_path: Path) -> Path:
    return copied(pattern, tmp_path)


def imports(file: Path) -> set[str]:
    """The first names of what a module imports."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


def test_a_pattern_stands_on_common_and_on_no_other_pattern(pattern: str) -> None:
    others = {*PATTERNS, "tests", "benchmarks"} - {pattern}
    assert not any(imports(file) & others for file in (ROOT / pattern).rglob("*.py"))


def test_common_knows_no_pattern() -> None:
    assert not any(imports(file) & {*PATTERNS, "tests", "benchmarks"} for file in (ROOT / "common").rglob("*.py"))


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_copy_runs_by_its_procfile_and_its_lock_is_all_it_needs(pattern: str, copy: Path) -> None:
    """And, where there is no Redis, requirements-run.txt for a Valkey."""
    uv = str(Path(sys.executable).parent / "uv")  # quicker than pip, which `test_packaging.py` has
    output_of(uv, "venv", "--quiet", "--python", sys.executable, ".venv", folder=copy)
    locks = [f"{pattern}/requirements.txt"]
    if any("common.jobs.run_valkey" in command for command in commands(pattern).values()):
        locks.append(str(ROOT / "requirements-run.txt"))
    for lock in locks:
        output_of(uv, "pip", "install", "--quiet", "--python", ".venv", "--require-hashes", "-r", lock, folder=copy)
    with started(pattern, copy, PATH=f"{copy}/.venv/bin:{os.environ['PATH']}") as (processes, ports):
        assert FRONT_SERVICES[pattern].read(ports[f"{pattern.upper()}_PORT"])["digit"] == 7
        processes.send_signal(signal.SIGINT)
        assert processes.wait(20) == 0
        assert not any(map(listens, ports.values()))


@pytest.mark.docker
@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_copy_is_built_and_served_by_docker_compose(pattern: str, copy: Path) -> None:
    with composed(copy, f"{pattern}/docker-compose.yml", service=pattern) as project:
        assert FRONT_SERVICES[pattern].read(project.port)["digit"] == 7
