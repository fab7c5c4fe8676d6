"""A batch job at work: its deadline, its progress, how it is cancelled, and that its output is its own."""

import os
import pty
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from batch.output.progress_bar import LINE_SECONDS
from tests.support.batch.parquet_data import (
    JOB,
    file_stamps,
    job,
    leftovers,
    parts,
    pictures,
    rows_of,
    run_job,
    stamps,
    state,
    write,
    write_slow,
)
from tests.support.models.onnx_models import slow_reader
from tests.support.processes import ROOT, wait_until

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> str:
    return slow_reader(tmp_path_factory.mktemp("model") / "mlp.onnx")


# Time


def test_run_is_at_risk_after_its_first_chunk_if_it_will_miss_its_deadline(tmp_path: Path, slow: str) -> None:
    source, output = write_slow(tmp_path / "data", chunks=400, seconds=1), tmp_path / "out"
    with job(source, output, "--deadline-seconds=60", model_uri=slow, batching="on", chunk_rows=20) as one:
        wait_until(lambda: (output / "_progress.json").exists() and state(output)["at_risk"])
        assert state(output)["status"] == "running"
        assert state(output)["chunks"] < 20
        assert state(output)["eta_seconds"] > 60
        one.process.terminate()
        assert one.ended()[0] == 130


def test_run_stops_at_its_deadline_and_resumes_later(tmp_path: Path, slow: str) -> None:
    source, output = write_slow(tmp_path / "data", chunks=6, seconds=0.2), tmp_path / "out"
    said = run_job(source, output, "--deadline-seconds=0.5", code=4, model_uri=slow, batching="on", chunk_rows=20)
    assert "the deadline has passed" in said
    assert (state(output)["status"], state(output)["at_risk"]) == ("late", True)
    assert not (output / "_SUCCESS").exists()
    before = stamps(output)
    assert len(before) < 6
    run_job(source, output, "--deadline-seconds=90", model_uri=slow, batching="on", chunk_rows=20)
    assert before.items() < stamps(output).items()
    assert len(rows_of(output)) == 120


def test_deadline_is_enforced_during_a_single_long_chunk(tmp_path: Path, slow: str) -> None:
    source, output = write_slow(tmp_path / "data", chunks=1, seconds=16, rows=30_000), tmp_path / "out"
    with job(source, output, "--deadline-seconds=3", model_uri=slow, batching="on") as one:
        code, _, _ = one.ended(seconds=40)  # the chunk takes a minute
        assert code == 4
    assert state(output)["status"] == "late"


def test_run_finishes_after_its_deadline_with_on_deadline_finish(tmp_path: Path, slow: str) -> None:
    source = write_slow(tmp_path / "data", chunks=4, seconds=0.2)
    run_job(
        source,
        tmp_path / "out",
        "--deadline-seconds=0.5",
        "--on-deadline=finish",
        model_uri=slow,
        batching="on",
        chunk_rows=20,
    )
    progress = state(tmp_path / "out")
    assert (progress["status"], progress["at_risk"]) == ("done", True)
    assert len(parts(tmp_path / "out")) == 4


# Progress


def test_progress_only_grows(tmp_path: Path, slow: str) -> None:
    source = write_slow(tmp_path / "data", chunks=10, seconds=0.4)
    output = tmp_path / "out"
    seen: list[dict[str, Any]] = []
    with job(source, output, model_uri=slow, batching="on", chunk_rows=20) as one:

        def look() -> bool:
            if (output / "_progress.json").exists():
                seen.append(state(output))
            return one.process.poll() is not None

        wait_until(look, seconds=90)
        code, _, _ = one.ended()
    assert code == 0
    for name in ("rows", "chunks", "updated_at"):
        values = [one[name] for one in seen]
        assert values == sorted(values)
    assert len({one["rows"] for one in seen}) > 2
    assert {one["started_at"] for one in seen} == {seen[0]["started_at"]}
    assert [one["status"] for one in seen] == sorted(
        (one["status"] for one in seen), reverse=True
    )  # running, then done
    assert any(one["eta_seconds"] for one in seen if one["status"] == "running")


def test_terminal_shows_a_bar_and_standard_output_stays_clean(tmp_path: Path, slow: str) -> None:
    source = write_slow(tmp_path / "data", chunks=6, seconds=0.2)
    controller, terminal = pty.openpty()
    command = [*JOB, f"--input={source}", f"--output={tmp_path / 'out'}"]
    environment = os.environ | {"MODEL_URI": slow, "CHUNK_ROWS": "20", "WORKERS": "2", "TERM": "xterm"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    shown = b""
    try:
        while block := os.read(controller, 1 << 16):
            shown += block
    except OSError:  # so a terminal says that its other end is closed
        pass
    out, _ = process.communicate(timeout=30)
    os.close(controller)
    assert process.returncode == 0
    assert "━" in shown.decode()
    assert "rows/s" in shown.decode()
    assert out.decode() == "done: 120 rows, 0 rejected\n"


# Cancelling


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_cancelled_run_ends_at_once_and_can_resume(tmp_path: Path, slow: str, number: signal.Signals) -> None:
    """SIGTERM as a manager sends it, to the job alone; Ctrl-C as a terminal sends it, to all of its processes."""
    source = write_slow(tmp_path / "data", chunks=8, seconds=0.3)
    output = tmp_path / "out"
    with job(source, output, model_uri=slow, batching="on", chunk_rows=20) as one:
        one.wait_for_parts(2)
        if number == signal.SIGTERM:
            one.process.send_signal(number)
        else:
            os.killpg(one.process.pid, number)
        code, _, errors = one.ended(seconds=5)
        wait_until(lambda: not one.members(), seconds=2)
    assert code == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == "cancelled: start it again to go on"
    assert state(output)["status"] == "cancelled"
    assert not (output / "_SUCCESS").exists()
    before = stamps(output)
    run_job(source, output, model_uri=slow, batching="on", chunk_rows=20)
    assert before.items() < stamps(output).items()
    assert leftovers(output) == []


def test_run_can_be_cancelled_before_its_first_chunk(tmp_path: Path) -> None:
    """While thousands of footers are read and the processes start, and during a trial; SIGINT is to all of them."""
    first = write(tmp_path / "data" / "0.parquet", pictures(2, seed=0))
    for number in range(1, 6_000):
        (tmp_path / "data" / f"{number}.parquet").hardlink_to(first)
    for options, number in (([], signal.SIGTERM), ([], signal.SIGINT), (["--trial"], signal.SIGTERM)):
        with job(tmp_path / "data", tmp_path / "out", *options) as one:
            wait_until(lambda one=one: opened(one.process.pid, tmp_path / "data"))  # type: ignore[misc]
            (os.killpg if number == signal.SIGINT else os.kill)(one.process.pid, number)
            code, _, errors = one.ended(seconds=5)
            wait_until(lambda one=one: not one.members(), seconds=5)  # type: ignore[misc]
        assert "Traceback" not in errors
        assert code == 130


def opened(process: int, folder: Path) -> bool:
    """Whether a process reads a file of this folder."""
    files = []
    for file in Path(f"/proc/{process}/fd").iterdir():
        try:
            files.append(file.readlink())
        except OSError:
            continue  # closed meanwhile
    return any(file.parent == folder for file in files)


# One output, one job


def test_second_job_on_an_output_is_refused_and_changes_nothing(tmp_path: Path, slow: str) -> None:
    source = write_slow(tmp_path / "data", chunks=8, seconds=0.2)
    settings: dict[str, Any] = {"model_uri": slow, "batching": "on", "chunk_rows": 20}
    with job(source, tmp_path / "out", **settings) as first:
        first.wait_for_parts(1)
        begun = time.monotonic()
        os.killpg(first.process.pid, signal.SIGSTOP)
        before = file_stamps(tmp_path / "out")
        for retry in ("all", "none"):
            said = run_job(source, tmp_path / "out", f"--retry={retry}", code=3, **settings)
            assert f"process {first.process.pid} has its lock" in said
        run_job(tmp_path / "nowhere", tmp_path / "out", code=3)
        assert file_stamps(tmp_path / "out") == before
        time.sleep(max(0.0, begun + LINE_SECONDS - time.monotonic()))
        os.killpg(first.process.pid, signal.SIGCONT)
        code, _, errors = first.ended()
    assert code == 0
    assert "of 160 rows, " in errors  # a line now and then, where there is no terminal
    assert "\x1b" not in errors
    assert len(rows_of(tmp_path / "out")) == 160


SPARK = {"part-00000-5c.snappy.parquet": b"rows", ".part-00000-5c.snappy.parquet.crc": b"crc", "_SUCCESS": b""}


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    "files",
    [
        SPARK,
        {"part.0.parquet": b"rows", "part-1.parquet": b"rows"},
        {"_SUCCESS": b""},
        {"_rejected/part-1.parquet": b"rows"},
        {"_failed.json": b"[]"},
        {"_lock": b"a note"},
        {"_progress.json": b"{}"},
        {"_manifest.json": b"{}", "part-1.parquet": b"rows"},
    ],
)
def test_output_that_others_have_written_is_refused_and_untouched(files: dict[str, bytes], tmp_path: Path) -> None:
    source, table = write(tmp_path / "a.parquet", pictures(10)), tmp_path / "table"
    for name, content in files.items():
        (table / name).parent.mkdir(parents=True, exist_ok=True)
        (table / name).write_bytes(content)
    for options in ([], ["--retry=all"], ["--trial"]):
        said = run_job(source, table, *options, code=1)
        assert said.startswith(f"failed: {'' if '_manifest.json' in files else '--output '}{table}")
        assert len(said.splitlines()) == 1
        assert contents_of(table) == files


def test_output_that_is_or_holds_or_lies_inside_an_input_is_refused_and_untouched(tmp_path: Path) -> None:
    data = tmp_path / "days" / "data"
    write(data / "part-a.parquet", pictures(10))
    (tmp_path / "link").symlink_to(data)
    before = contents_of(tmp_path)
    sources = (data, data / "part-a.parquet", f"file://{data}", tmp_path / "link")
    for source in sources:
        for output in (data, data.parent, tmp_path / "link", *([] if source == sources[1] else [data / "new"])):
            said = run_job(source, output, code=2).splitlines()[-1]
            assert said.endswith(f"argument --output: expected a folder apart from the input {source}, got {output}")
    assert "got an empty name" in run_job(data, "", code=2)  # type: ignore[arg-type]
    linked, output = tmp_path / "linked", tmp_path / "own"
    linked.mkdir()
    (linked / "more").symlink_to(output)
    write(output / "b.parquet", pictures(10))
    assert "lies inside it" in run_job(linked, output, code=1)
    assert contents_of(data) == {"part-a.parquet": before["days/data/part-a.parquet"]}
    assert not parts(output)


def test_part_that_the_manifest_does_not_name_is_neither_removed_nor_counted(tmp_path: Path) -> None:
    """What a job has begun it resumes, whatever it was killed at: here it could not even read its input."""
    source, output = tmp_path / "data", tmp_path / "out"
    run_job(source, output, code=1)
    assert not (output / "_manifest.json").exists()
    write(source / "a.parquet", pictures(10))
    run_job(source, output)
    (output / "_SUCCESS").unlink()
    mine, checksum = output / "part-mine.parquet", output / f".{parts(output)[0].name}.crc"
    for file in (mine, checksum):
        file.write_bytes(b"mine")
    for retry in ("partial", "all"):
        assert "it holds part-mine.parquet" in run_job(source, output, f"--retry={retry}", code=1)
        assert mine.read_bytes() == b"mine"
    mine.unlink()
    run_job(source, output, "--retry=all")
    assert len(rows_of(output)) == 10
    assert checksum.read_bytes() == b"mine"
