"""What a batch job does again after a failure, and what it leaves alone, as its `--retry` says."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.batch.digit_datasets import write_damaged
from tests.support.batch.parquet_data import contents, parts, pictures, rows_of, run_job, stamps, state, write
from tests.support.samples import MLP

pytestmark = pytest.mark.full

FIFTIES = {"chunk_rows": 50}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three good files and a damaged one, and the output of a run over them."""
    folder = tmp_path_factory.mktemp("begun")
    for number in range(3):
        write(folder / "data" / f"{number}.parquet", pictures(50, seed=number))
    write_damaged(folder / "data" / "3.parquet")
    assert "1 chunks failed" in run_job(folder / "data", folder / "out", code=1)
    assert len(parts(folder / "out")) == 3
    return folder / "data", folder / "out"


@pytest.fixture
def source(begun: tuple[Path, Path], tmp_path: Path) -> Iterator[Path]:
    """The four files; in the end they are again as they were, with the same inodes and times."""
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in begun[0].iterdir()}
    for file in before:
        (tmp_path / f"kept-{file.name}").hardlink_to(file)
    yield begun[0]
    for file, (content, time) in before.items():
        kept = tmp_path / f"kept-{file.name}"
        kept.write_bytes(content)
        os.utime(kept, ns=(time, time))
        kept.replace(file)


@pytest.fixture
def output(begun: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the output."""
    return shutil.copytree(begun[1], tmp_path / "out")


def test_retry_partial_processes_only_failed_chunks(source: Path, output: Path) -> None:
    before = stamps(output)
    run_job(source, output, code=1)
    assert stamps(output) == before
    write(source / "3.parquet", pictures(50, seed=3))
    run_job(source, output, "--retry=partial")
    after = stamps(output)
    assert before.items() < after.items()
    assert len(after) == 4
    assert len(rows_of(output)) == 200
    assert state(output)["errors"] == []


def test_retry_all_processes_all_chunks_again(source: Path, output: Path) -> None:
    before = stamps(output)
    write(source / "3.parquet", pictures(50, seed=3))
    run_job(source, output, "--retry=all")
    after = stamps(output)
    assert before.keys() < after.keys()
    assert not any(after[name] == before[name] for name in before)
    assert len(rows_of(output)) == 200


def test_retry_none_publishes_existing_parts_and_defers_the_rest_to_the_next_run(
    source: Path, output: Path, tmp_path: Path
) -> None:
    """The damaged file was repaired meanwhile; the next run is about other data, or about the same as well."""
    before = stamps(output)
    assert "1 chunks are deferred to the next run" in run_job(source, output, "--retry=none")
    assert stamps(output) == before
    assert (output / "_SUCCESS").exists()

    write(source / "3.parquet", pictures(50, seed=3))
    today = write(tmp_path / "today" / "4.parquet", pictures(20)).parent
    run_job(today, tmp_path / "next", f"--deferred-from={output}")
    assert {one.partition("-")[0] for one in rows_of(tmp_path / "next")} == {"3", "4"}
    assert len(rows_of(tmp_path / "next")) == 70

    run_job(source, tmp_path / "same", f"--deferred-from={output}")
    assert len(rows_of(tmp_path / "same")) == 200


def test_retry_none_processes_all_chunks_of_a_first_run_and_defers_only_failed_ones(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "a.parquet", pictures(10)), write_damaged(tmp_path / "b.parquet")
    run_job([good, bad], tmp_path / "out", "--retry=none")
    assert len(rows_of(tmp_path / "out")) == 10
    assert [one["file"] for one in state(tmp_path / "out", "_deferred.json")] == [str(bad)]
    # What is still damaged in the next run is left to the one after it.
    run_job(good, tmp_path / "next", "--retry=none", f"--deferred-from={tmp_path / 'out'}")
    assert [one["file"] for one in state(tmp_path / "next", "_deferred.json")] == [str(bad)]
    bad.unlink()  # nor is one that is gone in the way of the others
    run_job(good, tmp_path / "third", "--retry=none", f"--deferred-from={tmp_path / 'next'}")
    assert len(rows_of(tmp_path / "third")) == 10
    assert [one["file"] for one in state(tmp_path / "third", "_deferred.json")] == [str(bad)]


@pytest.fixture
def left(tmp_path: Path) -> tuple[Path, Path, bytes]:
    """A file of four chunks, the output that has left its first one to the next run, and the file before the damage."""
    file = write(tmp_path / "yesterday" / "a.parquet", pictures(200, seed=7), row_group_size=50)
    whole = file.read_bytes()
    file.write_bytes(whole[:4] + b"\xff" * 1_000 + whole[1_004:])
    run_job(file, tmp_path / "before", "--retry=none", **FIFTIES)
    assert len(rows_of(tmp_path / "before")) == 150
    return file, tmp_path / "before", whole


def next_run(tmp_path: Path, before: Path, *more: Path) -> dict[str, int]:
    """How many rows of each file the next run has read, which has one of its own, `today`."""
    today = write(tmp_path / "today.parquet", pictures(20))
    run_job([today, *more], tmp_path / "next", "--retry=none", f"--deferred-from={before}", **FIFTIES)
    return Counter(one.partition("-")[0] for one in rows_of(tmp_path / "next"))


def test_only_the_deferred_chunk_of_a_repaired_file_joins_the_next_run(
    left: tuple[Path, Path, bytes], tmp_path: Path
) -> None:
    file, before, whole = left
    file.write_bytes(whole)
    assert next_run(tmp_path, before) == {"today": 20, "a": 50}


@pytest.mark.parametrize("again", [False, True])
def test_rewritten_file_is_read_as_a_whole_once(left: tuple[Path, Path, bytes], tmp_path: Path, again: bool) -> None:
    """Also where it is among the next run's own data."""
    file, before, _ = left
    write(file, pictures(90, seed=8), row_group_size=30)
    assert next_run(tmp_path, before, *[file] * again) == {"today": 20, "a": 90}
    assert state(tmp_path / "next")["rows_total"] == 110


def test_removed_file_fails_alone_in_the_next_run(left: tuple[Path, Path, bytes], tmp_path: Path) -> None:
    file, before, whole = left
    file.unlink()
    assert next_run(tmp_path, before) == {"today": 20}
    assert [one["file"] for one in state(tmp_path / "next", "_deferred.json")] == [str(file)]
    shutil.rmtree(tmp_path / "next")
    file.write_bytes(whole)
    assert next_run(tmp_path, before) == {"today": 20, "a": 50}


def test_changed_file_is_processed_again_and_parts_of_a_removed_file_are_removed(
    source: Path, output: Path, tmp_path: Path
) -> None:
    before = stamps(output)
    write(source / "0.parquet", pictures(50, seed=9))
    (source / "1.parquet").unlink()
    (source / "3.parquet").unlink()
    run_job(source, output)
    after = stamps(output)
    assert len(after) == 2
    assert len(before.items() & after.items()) == 1
    run_job(source, tmp_path / "fresh")
    assert contents(output) == contents(tmp_path / "fresh")


def test_other_model_on_a_begun_output_is_refused_except_with_retry_all(source: Path, output: Path) -> None:
    before = stamps(output)
    linear = MLP.with_name("linear.onnx")
    said = run_job(source, output, code=1, model_uri=linear)
    assert "was begun with the model mlp" in said
    assert "now it is linear" in said
    assert stamps(output) == before
    assert "was begun with the model" in state(output)["errors"][0]
    (source / "3.parquet").unlink()
    run_job(source, output, "--retry=all", model_uri=linear)
    assert {version for _, _, version in rows_of(output).values()} == {state(output)["model"]["version"]}
    assert state(output)["model"]["name"] == "linear"
