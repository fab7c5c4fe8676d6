"""The rows of a run add up, and `verify` finds whatever is changed in a finished output."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.batch.digit_datasets import write_damaged
from tests.support.batch.parquet_data import parts, pictures, run_job, state, write
from tests.support.processes import ROOT


def verified(output: Path) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    command = [sys.executable, "-m", "batch.job", "verify", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def without_row(part: Path) -> None:
    pq.write_table(pq.read_table(part, partitioning=None).slice(1), part)


def damage_last_byte(part: Path) -> None:
    content = part.read_bytes()
    part.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])


CHANGES: dict[str, Callable[[Path], object]] = {
    "rows_out is 3, the manifest has 4": lambda out: without_row(parts(out)[0]),
    "sha256 is": lambda out: damage_last_byte(parts(out)[0]),
    "No such file": lambda out: parts(out)[0].unlink(),
    "rejected is 0, the manifest has 1": lambda out: parts(out / "_rejected")[0].unlink(),
    "expected no such part": lambda out: (out / "part-more.parquet").write_bytes(parts(out)[0].read_bytes()),
    "_manifest.json cannot be read": lambda out: (out / "_manifest.json").write_text("junk"),
    "_deferred.json cannot be read": lambda out: (out / "_deferred.json").write_text("{}"),
    "expected a finished output": lambda out: (out / "_SUCCESS").unlink(),
}


@pytest.mark.full
def test_rows_add_up_and_every_change_of_the_output_is_found(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write(data / "a.parquet", [[1.0] * 64] * 8 + [None] * 2, row_group_size=5)
    write_damaged(data / "b.parquet")
    run_job(data, out, "--retry=none", chunk_rows=5)
    progress = state(out)
    assert [progress[name] for name in ("rows_total", "rows_out", "rejected", "deferred")] == [10, 8, 2, 0]
    manifest = state(out, "_manifest.json")
    assert [(one["rows_in"], one["rows_out"], one["rejected"]) for one in manifest["parts"]] == [(5, 5, 0), (5, 3, 2)]
    assert verified(out) == (0, "verified: 10 rows in: 8 out, 2 rejected, 0 deferred; 2 parts\n", "")
    assert json.loads((out / "_SUCCESS").read_text())["rows_out"] == 8


@pytest.mark.full
def test_verify_names_each_part_that_was_changed(tmp_path: Path) -> None:
    for number, (words, change) in enumerate(CHANGES.items()):
        out = tmp_path / f"out-{number}"
        run_job(write(tmp_path / "a.parquet", [[1.0] * 64] * 4 + [None]), out)
        change(out)
        code, said, errors = verified(out)
        assert (code, said) == (1, "")
        assert words in errors
        assert "Traceback" not in errors


@pytest.mark.full
def test_deferred_rows_are_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", pictures(30), row_group_size=10, compression="none")
    content = file.read_bytes()
    file.write_bytes(content[:4] + b"\xff" * 500 + content[504:])
    run_job(file, tmp_path / "out", "--retry=none", chunk_rows=10)
    progress = state(tmp_path / "out")
    assert [progress[name] for name in ("rows_total", "rows_out", "rejected", "deferred")] == [30, 20, 0, 10]
    assert verified(tmp_path / "out")[1] == "verified: 30 rows in: 20 out, 0 rejected, 10 deferred; 2 parts\n"
