"""The READMEs do what they say: every command is run here or by CI, and gives the answer that is shown."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from common.settings import ServiceSettings
from tests.processes import PATTERNS, ROOT, answers, output_of, predict, wait_until
from tests.readmes import READMES, Step, rows, steps

PORTS = {"web_single": 8001}
CI = (ROOT / ".ci" / "run").read_text()
ANYTHING = "…"


def served_pattern(step: Step) -> str | None:
    """The pattern that a block starts and that stays in the foreground, or None."""
    words = step.commands.splitlines()[-1].split()
    starts = words[0] == "make" or words[:3] == ["docker", "compose", "up"]
    for pattern in PATTERNS:
        if (starts and words[-1] in (pattern, f"{pattern}-replicas")) or f"{pattern}.predictor:create_app" in words:
            return pattern
    return None


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What a clone of the working tree holds."""
    for name in output_of("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@contextmanager
def serving(step: Step, pattern: str, folder: Path) -> Iterator[None]:
    """The server that a block starts; ended as a person would, by Ctrl-C."""
    port = PORTS[pattern]
    assert not answers(f"http://127.0.0.1:{port}/health/live"), f"something else answers on port {port}"
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(["bash", "-c", step.commands], cwd=folder, env=environment, start_new_session=True)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health/ready"), 300)
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
        if step.commands.startswith("docker"):
            output_of("docker", "compose", "--profile=*", "down", "--timeout=5", folder=folder)


def assert_alike(answer: object, shown: object) -> None:
    """The answer has the shape that is shown; `…` and numbers with a fraction stand for any."""
    if isinstance(shown, dict):
        assert isinstance(answer, dict)
        assert list(answer) == list(shown)
        for name, value in shown.items():
            assert_alike(answer[name], value)
    elif isinstance(shown, str) and ANYTHING in shown:
        assert str(answer).startswith(shown.partition(ANYTHING)[0])
    elif isinstance(shown, int | str):
        assert answer == shown


@pytest.mark.full
@pytest.mark.docker
@pytest.mark.timeout(900)
@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_of_a_readme_runs_and_answers_as_shown(readme: Path, copy: Path) -> None:
    with ExitStack() as server:
        for step in steps(readme):
            if all(line in CI for line in step.commands.splitlines()):
                continue
            if pattern := served_pattern(step):
                server.close()
                server.enter_context(serving(step, pattern, copy))
                assert predict(PORTS[pattern])["digit"] == 7
            else:
                output = output_of("bash", "-euo", "pipefail", "-c", step.commands, folder=copy)
                if step.answer:
                    assert_alike(json.loads(output), json.loads(step.answer))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_settings_table_lists_every_setting_with_its_default(pattern: str) -> None:
    settings: type[ServiceSettings] = importlib.import_module(f"{pattern}.settings").Settings
    told = {row[0].strip("`"): row[1].strip("`") for row in rows(ROOT / pattern / "README.md", "Settings")}
    assert sorted(told) == sorted(name.upper() for name in settings.model_fields)
    for name, field in settings.model_fields.items():
        if isinstance(field.default, int | float):
            assert float(told[name.upper()].replace(",", "")) == field.default, name
        assert field.default is not PydanticUndefined, f"{name} has no default: say in the README that it is required"
