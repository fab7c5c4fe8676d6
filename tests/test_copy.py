"""`cp -r common web_single my-project/` works: without Docker, with Docker, and by the code's own imports."""

import ast
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.processes import PATTERNS, ROOT, answers, composed, free_port, output_of, predict, running, wait_until


@pytest.fixture(params=PATTERNS)
def pattern(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def copy(pattern: str, tmp_path: Path) -> Path:
    for folder in ("common", pattern):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


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


def test_a_copy_runs_by_its_procfile(pattern: str, copy: Path) -> None:
    port = free_port()
    honcho = (sys.executable, "-m", "honcho", "-f", f"{pattern}/Procfile", "-d", ".", "start")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with running(*honcho, folder=copy, PATH=path, **{f"{pattern.upper()}_PORT": str(port)}) as server:
        wait_until(lambda: server.poll() is not None or answers(f"http://127.0.0.1:{port}/health/ready"))
        assert predict(port)["digit"] == 7
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 130  # what a shell gives for Ctrl-C
        assert not answers(f"http://127.0.0.1:{port}/health/live")


@pytest.mark.full
@pytest.mark.timeout(300)
def test_the_lock_of_a_copy_is_all_it_needs(pattern: str, copy: Path) -> None:
    output_of(sys.executable, "-m", "venv", ".venv", folder=copy)
    output_of(".venv/bin/pip", "install", "--require-hashes", "-r", f"{pattern}/requirements.txt", folder=copy)
    command = (copy / pattern / "Procfile").read_text().split(f"{pattern}: ", 1)[1].splitlines()[0]
    port = free_port()
    environment = {f"{pattern.upper()}_PORT": str(port), "PATH": f"{copy}/.venv/bin:{os.environ['PATH']}"}
    with running("sh", "-c", command, folder=copy, **environment) as server:
        wait_until(lambda: server.poll() is not None or answers(f"http://127.0.0.1:{port}/health/ready"))
        assert predict(port)["digit"] == 7


@pytest.mark.docker
@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_copy_is_built_and_served_by_docker_compose(pattern: str, copy: Path) -> None:
    with composed(copy, f"{pattern}/docker-compose.yml", service=pattern) as (_, port):
        assert predict(port)["digit"] == 7
