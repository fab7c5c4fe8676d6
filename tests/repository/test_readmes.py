"""The READMEs do what they say: every command is run here or by CI, and gives the answer that is shown."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from tests.support.patterns.front_services import FRONT_SERVICES
from tests.support.patterns.procfiles import app_in, commands, variables_of_all
from tests.support.processes import PATTERNS, ROOT, answers, output_of, wait_until
from tests.support.readmes import READMES, Step, rows, steps

CI = (ROOT / ".ci" / "run").read_text()
ANYTHING = "…"
WITHOUT_ENVIRONMENT = os.pathsep.join(
    one for one in os.environ["PATH"].split(os.pathsep) if one != str(Path(sys.executable).parent)
)
"""Of a reader who has activated no virtual environment."""
IN_ENVIRONMENT = f"{Path(sys.executable).parent}{os.pathsep}{WITHOUT_ENVIRONMENT}"
DOWN = ("docker", "compose", "--profile=*", "down", "--volumes", "--timeout=0")


class Part(NamedTuple):
    """Blocks of a README that follow one another, and those before them, of which each alone starts what they ask."""

    starts: list[Step]
    blocks: list[Step]


def parts(readme: Path) -> list[Part]:
    """The shell blocks of a README; those before the first start need none."""
    found = [Part([], [])]
    for step in steps(readme):
        if all(line in CI for line in step.commands.splitlines()):
            continue
        another_way = found[-1].starts and not found[-1].blocks and not brings_its_own(found[-1].starts[-1])
        if brings_its_own(step) or (served_pattern(step) and not another_way):
            found.append(Part([step], []))
        elif served_pattern(step):
            found[-1].starts.append(step)
        else:
            found[-1].blocks.append(step)
    return found


def served_pattern(step: Step) -> str | None:
    """The pattern that a block starts and that stays in the foreground, or None."""
    words = re.sub(r"^(\w+=\S* )+", "", step.commands.splitlines()[-1]).split()
    starts = words[0] == "make" or words[:3] == ["docker", "compose", "up"]
    for pattern in PATTERNS:
        front = app_in(commands(pattern)[pattern])
        if (starts and words[-1] in (pattern, f"{pattern}-replicas")) or {front, f"{pattern}/Procfile"} & {*words}:
            return pattern
    return None


def brings_its_own(step: Step) -> bool:
    """Whether a block starts a pattern that goes on in the background."""
    return "docker compose up --detach" in step.commands


def is_for(step: Step, start: Step) -> bool:
    """Whether a block is for what was started so: Docker's data are in no local folder, and so on."""
    with_docker = "docker compose up" in start.commands
    with_make = "make " in start.commands
    return not (
        ("docker compose exec" in step.commands and not with_docker)
        or (".state/" in step.commands and with_docker)
        or ("make break" in step.commands and not (with_docker or with_make))
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What a clone of the working tree holds, and this environment, in which all is installed.

    `test_packaging.py` installs into a new one.
    """
    environment = tmp_path / ".venv"
    environment.mkdir()
    for name in ("bin", "include", "lib", "lib64", "pyvenv.cfg", "share"):
        if (Path(sys.prefix) / name).exists():
            (environment / name).symlink_to(Path(sys.prefix) / name)
    for name in output_of("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    for lock in (*PATTERNS, "envoy"):
        (environment / f".installed-{lock}").touch()
    return tmp_path


@contextmanager
def serving(step: Step, pattern: str, folder: Path) -> Iterator[None]:
    """The server that a block starts; ended as a person would, by Ctrl-C."""
    port = FRONT_SERVICES[pattern].port
    assert not answers(f"http://127.0.0.1:{port}/health/live"), f"something else answers on port {port}"
    needs_environment = step.commands.startswith(("python", "uvicorn"))
    path = IN_ENVIRONMENT if needs_environment else WITHOUT_ENVIRONMENT
    command = ["bash", "-c", step.commands]
    process = subprocess.Popen(command, cwd=folder, env=os.environ | {"PATH": path}, start_new_session=True)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health/ready"), 300)
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
        if "docker compose up" in step.commands:
            output_of(*DOWN, folder=folder)
        shutil.rmtree(folder / ".state", ignore_errors=True)  # the next one finds a fresh start, too


def assert_alike(answer: object, shown: object) -> None:
    """The answer is what is shown: numbers to the decimals shown, `…` for anything, also for the rest of a list."""
    if isinstance(shown, dict):
        assert isinstance(answer, dict)
        assert list(answer) == list(shown)
        for name, value in shown.items():
            assert_alike(answer[name], value)
    elif isinstance(shown, list):
        assert isinstance(answer, list)
        start = shown[: shown.index(ANYTHING)] if ANYTHING in shown else shown
        assert len(answer) == len(shown) or len(start) < len(shown)
        for value, expected in zip(answer[: len(start)], start, strict=True):
            assert_alike(value, expected)
    elif isinstance(shown, str) and ANYTHING in shown:
        assert str(answer).startswith(shown.partition(ANYTHING)[0])
    elif isinstance(shown, float):
        assert isinstance(answer, float)
        assert round(answer, len(str(shown).partition(".")[2])) == shown
    else:
        assert answer == shown


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (1.0, 0.99),
        ("7", 7),
        ({"digit": 3}, {"digit": None}),
        ({"digit": 3, "more": 1}, {"digit": 3}),
        ([0.5, 0.1], [0.0, ANYTHING]),
        ([0.5, 0.1], [0.5]),
        ([], [0.0, ANYTHING]),
        ("x", [ANYTHING]),
        ("manual", "7"),
    ],
)
def test_another_answer_than_the_one_shown_is_found(answer: object, shown: object) -> None:
    with pytest.raises((AssertionError, ValueError)):
        assert_alike(answer, shown)


def run(step: Step, folder: Path) -> None:
    """A block's commands end without an error, and answer as shown."""
    output = output_of("bash", "-euo", "pipefail", "-c", step.commands, folder=folder, PATH=WITHOUT_ENVIRONMENT)
    if step.answer:
        assert_alike(json.loads(output), json.loads(step.answer))


@pytest.mark.full
@pytest.mark.docker
@pytest.mark.timeout(900)
@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_of_a_readme_runs_and_answers_as_shown_in_each_way_to_run(readme: Path, copy: Path) -> None:
    first, *others = parts(readme)
    with ExitStack() as images:
        images.callback(output_of, *DOWN, "--rmi=local", folder=copy)  # each is built once, as for its reader
        for step in first.blocks:
            run(step, copy)
        for starts, blocks in others:
            for start in starts:
                with ExitStack() as server:
                    if pattern := served_pattern(start):
                        server.enter_context(serving(start, pattern, copy))
                        if not re.search("MODEL_URI|JOB_TIMEOUT_SECONDS", start.commands):  # the blocks show it
                            assert FRONT_SERVICES[pattern].read(FRONT_SERVICES[pattern].port)["digit"] == 7
                    else:
                        server.callback(output_of, *DOWN, folder=copy)
                        run(start, copy)
                    for step in blocks:
                        if is_for(step, start):
                            run(step, copy)


@pytest.mark.parametrize("readme", [*READMES, ROOT / "README.ru.md"], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_readme_needs_a_curl_newer_than_7_81(readme: Path) -> None:
    """That of Ubuntu 22.04 knows neither `--json` nor `%header{}`."""
    commands = " ".join(step.commands for step in steps(readme))
    assert "curl --json" not in commands
    assert "%header" not in commands


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_settings_tables_list_every_setting_with_its_default(pattern: str) -> None:
    """A setting that several services share may be listed once."""
    said: dict[str, set[str]] = {}
    for name, default, _ in rows(ROOT / pattern / "README.md", "Settings"):
        said.setdefault(name.strip("`"), set()).add(default.strip("`"))
    check_keep_alive(pattern, *said.pop("UVICORN_TIMEOUT_KEEP_ALIVE"))
    fields = variables_of_all(pattern)
    assert sorted(said) == sorted({name for name, _ in fields})
    for name, field in fields:
        assert field.default is not PydanticUndefined, f"{name} has no default: say in the README that it is required"
        assert any(is_said(field.default, text) for text in said[name]), name


def check_keep_alive(pattern: str, seconds: str) -> None:
    """It is uvicorn's own setting: its default is in the image, and in each command of a Procfile."""
    assert f" UVICORN_TIMEOUT_KEEP_ALIVE={seconds}" in (ROOT / pattern / "Dockerfile").read_text()
    text = "".join(file.read_text() for file in (ROOT / pattern).glob("Procfile*"))
    assert text.count(f"--timeout-keep-alive ${{UVICORN_TIMEOUT_KEEP_ALIVE:-{seconds}}} ") == text.count(
        "exec uvicorn "
    )


def is_said(default: object, text: str) -> bool:
    """Whether this is how a README gives a default; of None it says what happens then."""
    if isinstance(default, bool):
        return text == str(default).lower()
    if isinstance(default, int | float):
        return float(text.replace(",", "")) == default
    if isinstance(default, SecretStr):
        return text == default.get_secret_value()
    if isinstance(default, dict):
        return text == ",".join(f"{name}={value}" for name, value in default.items())
    if isinstance(default, list):
        return text == ",".join(default)
    return default is None or text == str(default).removeprefix(f"{ROOT}/")
