"""Files that change while a run reads them: the run ends in a clear state, and never publishes a mixture."""

import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.batch.parquet_data import JOB, job, leftovers, parts, pictures, rows_of, run_job, state, write
from tests.support.models.onnx_models import slow_reader
from tests.support.processes import ROOT, wait_until
from tests.support.samples import MLP

CHUNKS, ROWS = 8, 20
SETTINGS = {"chunk_rows": ROWS, "workers": 1}
SECONDS = 0.2


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> str:
    return slow_reader(tmp_path_factory.mktemp("model") / "mlp.onnx")


def write_file(file: Path, row_group: int = ROWS, backwards: bool = False, seconds: float = SECONDS) -> Path:
    """The rows of a file of so many chunks, perhaps in another order or in other row groups."""
    features = pictures(CHUNKS * ROWS)
    features[:, 0] = seconds
    write(file, features, row_group_size=row_group)
    if backwards:
        pq.write_table(pq.read_table(file).take(list(reversed(range(CHUNKS * ROWS)))), file, row_group_size=row_group)
    return file


def replace(file: Path, **how: bool | int) -> None:
    """By a rename over it, as writers do."""
    new = write_file(file.with_name(".new") / file.name, **how)  # type: ignore[arg-type]
    new.rename(file)


def replace_with_equal_stamp(file: Path) -> None:
    """As a copy that keeps size and time does."""
    before = file.stat()
    replace(file, backwards=True)
    file.write_bytes(file.read_bytes().ljust(before.st_size, b"\0"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def overwrite(file: Path) -> None:
    """In place."""
    new = write_file(file.with_name(".new") / file.name, backwards=True).read_bytes()
    file.write_bytes(new)


CHANGES: dict[str, Callable[[Path], None]] = {
    "another order": lambda file: replace(file, backwards=True),
    "smaller row groups": lambda file: replace(file, row_group=ROWS // 2),
    "larger row groups": lambda file: replace(file, row_group=CHUNKS * ROWS),
    "equal rows": replace,
    "the same size and time": replace_with_equal_stamp,
    "in place": overwrite,
    "gone": Path.unlink,
}


@pytest.mark.full
@pytest.mark.parametrize("change", CHANGES)
def test_file_that_changes_during_a_run_is_taken_back_and_read_by_the_retry(
    tmp_path: Path, slow: str, change: str
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    good = write_file(data / "a.parquet", seconds=0)
    file = write_file(data / "b.parquet")
    with job(data, out, model_uri=slow, batching="on", **SETTINGS) as one:
        one.wait_for_parts(CHUNKS + 3)
        CHANGES[change](file)
        code, _, errors = one.ended()
    assert code == 1
    assert "Traceback" not in errors
    assert f"{file}: " in errors
    assert ("has changed" in errors) or change == "gone"
    assert set(rows_of(out)) == {f"a-{row}" for row in range(CHUNKS * ROWS)}
    progress = state(out)
    assert (progress["status"], progress["rows"], progress["chunks"]) == ("failed", CHUNKS * ROWS, CHUNKS)
    assert not (out / "_SUCCESS").exists()
    assert leftovers(out) == []
    run_job(data, out, model_uri=slow, batching="on", **SETTINGS)
    assert set(rows_of(out)) == {f"{name.stem}-{row}" for name in (good, file) if name.exists() for row in range(160)}


@pytest.mark.full
def test_file_that_was_read_to_its_end_and_then_changes_is_taken_back(tmp_path: Path, slow: str) -> None:
    """No chunk of it is left that would notice it."""
    data, out = tmp_path / "data", tmp_path / "out"
    file = write_file(data / "a.parquet", seconds=0)
    write_file(data / "b.parquet")
    with job(data, out, model_uri=slow, batching="on", **SETTINGS) as one:
        one.wait_for_parts(CHUNKS + 1)
        replace(file, backwards=True, seconds=0)
        code, _, errors = one.ended()
    assert code == 1
    assert f"{file}: the file has changed" in errors
    assert {name.partition("-")[0] for name in rows_of(out)} == {"b"}


@pytest.mark.full
def test_file_that_is_added_during_a_run_is_read_by_the_retry_or_the_next_run(tmp_path: Path, slow: str) -> None:
    for retry in ("partial", "none"):
        data, out = tmp_path / retry / "data", tmp_path / retry / "out"
        write_file(data / "b.parquet", seconds=0.1)
        with job(data, out, f"--retry={retry}", model_uri=slow, batching="on", **SETTINGS) as one:
            one.wait_for_parts(1)
            added = data / "a.parquet"
            shutil.move(write_file(data.with_name("new") / "a.parquet", seconds=0), added)
            code, said, errors = one.ended()
        assert {name.partition("-")[0] for name in rows_of(out)} == {"b"}
        if retry == "partial":
            assert code == 1
            assert f"{added}: the file was added" in errors
            run_job(data, out, model_uri=slow, batching="on", **SETTINGS)
        else:
            assert f"{CHUNKS} chunks are deferred" in said
            write_file(tmp_path / "next" / "c.parquet", seconds=0)
            source, out = tmp_path / "next", tmp_path / "next-out"
            run_job(source, out, f"--deferred-from={data.with_name('out')}", model_uri=slow, batching="on", **SETTINGS)
        assert {name.partition("-")[0] for name in rows_of(out)} > {"a"}


@pytest.mark.full
def test_output_has_one_model_if_its_file_changes_during_a_run(tmp_path: Path) -> None:
    """A process that loads it afterwards refuses it."""
    model = Path(slow_reader(tmp_path / "mlp.onnx"))
    file, out = write_file(tmp_path / "data" / "a.parquet"), tmp_path / "out"
    with job(file, out, model_uri=model, batching="on", **SETTINGS) as one:
        one.wait_for_parts(2)
        shutil.copy(MLP, tmp_path / "new.onnx")
        (tmp_path / "new.onnx").rename(model)
        for worker in wait_until(one.workers_at):
            os.kill(worker, 9)
        code, _, errors = one.ended()
    assert code == 1
    assert f"the model at {model} has changed" in errors
    assert len({version for *_, version in rows_of(out).values()}) == 1
    assert "--retry all" in run_job(file, out, code=1, model_uri=model, **SETTINGS)
    run_job(file, out, "--retry=all", model_uri=model, **SETTINGS)
    assert {version for *_, version in rows_of(out).values()} == {state(out)["model"]["version"]}


@pytest.mark.full
def test_statistics_that_python_cannot_hold_do_not_end_the_run(tmp_path: Path) -> None:
    """Infinite dates as DuckDB writes them, times after the year 9999, and text that is not UTF-8, in other columns."""
    data, out = tmp_path / "data", tmp_path / "out"
    pixels = pa.array([np.ones(64, np.float32)] * 2)
    bad_text = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff\xfe", b"\xfe"]).buffers())
    columns = {
        "infinity": pa.array([2**31 - 1, -(2**31) + 1], pa.int32()).cast(pa.date32()),
        "late": pa.array([2**62, 0], pa.int64()).cast(pa.timestamp("us")),
        "bytes": bad_text,
    }
    for name, values in columns.items():
        file = write(data / f"{name}.parquet", [])
        pq.write_table(pa.table({"id": [f"{name}-0", f"{name}-1"], "pixels": pixels, "more": values}), file)
    write(data / "good.parquet", pictures(3))
    run_job(data, out)
    assert len(rows_of(out)) == 2 * len(columns) + 3


@pytest.mark.full
@pytest.mark.strace
def test_success_is_on_the_disk_after_everything_else(tmp_path: Path) -> None:
    """The order of the system calls: each content before its name, each name before `_SUCCESS`, the folder at last."""
    file = write(tmp_path / "a.parquet", [[1.0] * 64, None, [2.0] * 64], row_group_size=1)
    out, log = tmp_path / "new" / "out", tmp_path / "calls"
    calls = "trace=fsync,rename,renameat,renameat2,mkdir,mkdirat"
    command = ["strace", "-f", "-y", "-s", "500", "-e", calls, "-o", str(log), *JOB]
    environment = os.environ | {"CHUNK_ROWS": "1", "WORKERS": "1"}
    subprocess.run(
        [*command, f"--input={file}", f"--output={out}"], cwd=ROOT, env=environment, check=True, stdout=sys.stderr
    )
    calls_of = defaultdict(list)  # by process: those of others may come in between
    of_run = [line for line in log.read_text().splitlines() if str(tmp_path) in line]
    for line in of_run:
        calls_of[line.split()[0]].append(line)
    assert len(parts(out)) == 3
    made = set()
    for lines in calls_of.values():
        for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
            if "rename" in line:
                source, target = line.split('"')[1::2]
                assert "fsync" in before
                assert f"<{source}>" in before, "the content is flushed directly before"
                assert "fsync" in after
                assert f"<{Path(target).parent}>" in after, "and the folder directly after"
            elif "mkdir" in line:
                made.add(folder := line.split('"')[1])
                assert f"<{Path(folder).parent}>" in after, "a new folder is flushed in the one above it"
    assert made == {str(folder) for folder in (out.parent, out, out / "_rejected")}
    renames = [line for line in of_run if "rename" in line]
    assert '_SUCCESS"' in renames[-1]
    lines = calls_of[renames[-1].split()[0]]
    success = lines.index(renames[-1])
    for name in (out, out / "_rejected"):
        assert any(f"<{name}>" in line for line in lines[success - 3 : success]), "all names are on the disk before"
