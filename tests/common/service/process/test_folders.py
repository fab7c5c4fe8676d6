"""A folder that cannot be written into ends a process at start, with one line that says what to set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

NOWHERE = "/proc/nowhere"
"""Not even root can write there, as an arbitrary user cannot on a read-only root file system."""
UVICORN = ("uvicorn", "--factory", "--port", "0")


def run(module: tuple[str, ...], settings: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """`python -m MODULE …` in this folder; it is to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", *module],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "REDIS_URL": "redis://127.0.0.1:1/0"} | settings,
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize(
    ("command", "settings", "advice"),
    [
        ((*UVICORN, "asynchronous.delivery:create_app"), {"RESULTS_DATABASE": f"{NOWHERE}/r"}, "set RESULTS_DATABASE"),
        ((*UVICORN, "batch.manager:create_app"), {"MANAGER_DATABASE": f"{NOWHERE}/m"}, "set MANAGER_DATABASE"),
        ((*UVICORN, "batch.manager:create_app"), {"DATA_ROOT": NOWHERE}, "set DATA_ROOT"),
        (("common.jobs.run_valkey", "0", NOWHERE), {}, "another folder"),
        (("batch.sample", NOWHERE), {}, "another folder"),
        (("batch.job", "run", "--input", ".", "--output", NOWHERE), {}, f"--output {NOWHERE}: nothing"),
    ],
    ids=["delivery", "manager", "data root", "valkey", "sample", "job"],
)
def test_a_folder_that_cannot_be_written_is_one_line_that_says_what_to_set(
    command: tuple[str, ...], settings: dict[str, str], advice: str, tmp_path: Path
) -> None:
    done = run(command, settings, tmp_path)
    assert done.returncode == 1
    assert advice in done.stderr.strip().splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("app", "setting", "address"),
    [
        ("batch.manager", "MANAGER_DATABASE", "postgresql://user:geheim@database/runs"),
        ("batch.manager", "DATA_ROOT", "s3://bucket/data"),
        ("batch.manager", "MANAGER_DATABASE", "file:/tmp/runs.sqlite"),
        ("batch.manager", "MANAGER_DATABASE", ":memory:"),
        ("batch.manager", "MANAGER_DATABASE", ""),
        ("batch.manager", "DATA_ROOT", ""),
        ("asynchronous.delivery", "RESULTS_DATABASE", "sqlite:///results.sqlite"),
        ("asynchronous.delivery", "RESULTS_DATABASE", ""),
        ("web_single.predictor", "WARM_UP", "https://models/inputs.json?signature=geheim"),
    ],
)
def test_an_address_where_a_path_is_expected_is_one_line(app: str, setting: str, address: str, tmp_path: Path) -> None:
    done = run((*UVICORN, f"{app}:create_app"), {setting: address}, tmp_path)
    assert f"wrong setting: {setting}=" in done.stderr
    assert "expected a path on this machine" in done.stderr
    assert "Traceback" not in done.stderr
    assert "geheim" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [".", "/", "picture.jpg", "n" * 300, "/dev/null", "/dev/full"])
@pytest.mark.parametrize(
    ("app", "setting"), [("batch.manager", "MANAGER_DATABASE"), ("asynchronous.delivery", "RESULTS_DATABASE")]
)
def test_a_database_that_is_no_sqlite_file_is_one_line(app: str, setting: str, path: str, tmp_path: Path) -> None:
    content = b"\xff\xd8 no database" * 100
    (tmp_path / "picture.jpg").write_bytes(content)
    done = run((*UVICORN, f"{app}:create_app"), {setting: path}, tmp_path)
    assert done.returncode == 1
    assert f"cannot start: {setting}={path} " in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert (tmp_path / "picture.jpg").read_bytes() == content
