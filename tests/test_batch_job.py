"""The batch job as a process: what comes out of which data, what is done again after which failure, in what time."""

import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.dataset import DataError, plan
from batch.progress_bar import LINE_SECONDS
from common.digits import from_image
from tests.batch_data import (
    JOB,
    LIST,
    answers_of,
    contents,
    job,
    leftovers,
    parts,
    pictures,
    ran,
    rows_of,
    stamps,
    state,
    write,
    write_slow,
)
from tests.datasets import real_digits
from tests.pictures import INVERTED, SEVEN, encoded
from tests.processes import ROOT, wait_until
from tests.servers import MLP, slow_reader


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> str:
    return slow_reader(tmp_path_factory.mktemp("model") / "mlp.onnx")


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Each file's inode and time of change."""
    return {str(file): (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.rglob("*")}


def damaged(file: Path) -> Path:
    """A file that is no Parquet file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"PAR1, but no more")
    return file


# What comes out


def test_every_row_gets_the_models_own_answer_whatever_its_column_is(tmp_path: Path) -> None:
    kinds = [
        LIST,
        pa.list_(pa.float32()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float64(), 64),
        pa.list_(pa.float64()),
        pa.list_(pa.int64()),
        pa.list_(pa.uint8(), 64),
    ]
    expected = {}
    for number, kind in enumerate(kinds):
        features = pictures(300, seed=number)
        if pa.types.is_integer(kind.value_type):
            features = features.round()
        write(tmp_path / "data" / f"{number}.parquet", features, kind, row_group_size=100)
        for row, (digit, confidence) in enumerate(zip(*answers_of(features), strict=True)):
            expected[f"{number}-{row}"] = (digit, confidence)
    pngs = [encoded(SEVEN), encoded(INVERTED), encoded(SEVEN, "JPEG")]
    read = answers_of(np.stack([from_image(png, 10**6) for png in pngs]))
    expected |= {f"p{row}": answer for row, answer in enumerate(zip(*read, strict=True))}
    pq.write_table(pa.table({"image": pngs, "id": ["p0", "p1", "p2"], "more": [1, 2, 3]}), tmp_path / "png.parquet")
    for hidden in ("_temporary/a.parquet", ".a.parquet", "_a.parquet"):
        write(tmp_path / "data" / hidden, pictures(5))
    (tmp_path / "data" / "notes.txt").write_text("no data")
    sources = [f"file://{tmp_path}/data", tmp_path / "png.parquet"]

    said = ran(sources, tmp_path / "out", chunk_rows=200)
    got = rows_of(tmp_path / "out")
    assert got.keys() == expected.keys()
    for one, (digit, confidence, version) in got.items():
        assert (digit, version) == (expected[one][0], state(tmp_path / "out")["model"]["version"])
        assert confidence == pytest.approx(expected[one][1], abs=1e-5)
    schema = pq.read_schema(parts(tmp_path / "out")[0])
    assert [str(schema.field(name).type) for name in ("digit", "confidence")] == ["int8", "float"]
    assert "done: 2,103 rows, 0 set aside" in said
    progress = state(tmp_path / "out")
    assert progress["status"] == "done"
    assert progress["rows"] == progress["rows_total"] == 2_103
    assert progress["chunks"] == progress["chunks_total"] == 15  # two of each file but one
    assert state(tmp_path / "out", "_SUCCESS")["data_checksum"] == progress["data_checksum"]
    assert leftovers(tmp_path / "out") == []

    before = everything(tmp_path / "out")
    assert "nothing to do" in ran(sources, tmp_path / "out", chunk_rows=200)
    assert everything(tmp_path / "out") == before


@pytest.mark.full
def test_a_finished_output_stays_as_it_is_whatever_is_wrong_now(tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", pictures(10))
    ran(source, tmp_path / "out")
    before = everything(tmp_path / "out")
    ran(source, tmp_path / "out", "--retry=all")
    ran(tmp_path / "nowhere", tmp_path / "out")
    with job(source, tmp_path / "out", model_uri=tmp_path / "no.onnx") as one:
        one.ended()
    assert everything(tmp_path / "out") == before


@pytest.mark.full
def test_ids_of_any_type_come_out_as_they_went_in(tmp_path: Path) -> None:
    """Also those of rows that are no pictures."""
    columns = [
        pa.array([7, None, -(2**63)]),
        pa.array(["ü", "", "x" * 1000]),
        pa.array([b"\0", b"", None]),
        pa.array([{"day": 1, "scan": "a"}, {"day": None, "scan": None}, None]),
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array([1, 2, 3], pa.timestamp("us", "UTC")),
        pa.array([[1, 2], [], None]),
    ]
    pixels = pa.array([[1.0] * 64, None, [2.0] * 64], LIST)
    (tmp_path / "data").mkdir()
    for number, ids in enumerate(columns):
        pq.write_table(pa.table({"id": ids, "pixels": pixels}), tmp_path / "data" / f"{number}.parquet")
    ran(tmp_path / "data", tmp_path / "out")
    for ids, chunk in zip(columns, plan([str(tmp_path / "data")], 100).chunks, strict=True):
        for folder, rows in ((tmp_path / "out", [0, 2]), (tmp_path / "out" / "_rejected", [1])):
            table = pq.read_table(folder / f"part-{chunk.name}.parquet", partitioning=None)
            assert table.column("id").to_pylist() == [ids.to_pylist()[row] for row in rows]
            assert table.schema.field("id").type == ids.type


# What one job covers


def test_chunks_are_row_groups_and_named_after_their_file(tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.parquet", pictures(100), row_group_size=10)
    write(tmp_path / "data" / "deep" / "b.parquet", pictures(25), row_group_size=10)
    data = plan([str(tmp_path / "data")], 30)
    assert [chunk.row_groups for chunk in data.chunks] == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9,), (0, 1, 2)]
    assert [chunk.rows for chunk in data.chunks] == [30, 30, 30, 10, 25]
    before = {chunk.name for chunk in data.chunks}
    write(tmp_path / "data" / "0.parquet", pictures(10))
    more = plan([str(tmp_path / "data")], 30)
    assert len({chunk.name for chunk in more.chunks}) == 6
    assert before < {chunk.name for chunk in more.chunks}
    assert more.checksum != data.checksum


def test_one_file_is_read_once_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / ".hidden" / "data" / "a.parquet", pictures(10))
    monkeypatch.chdir(tmp_path)
    names = [str(file), str(file.parent), f"{file.parent}/", ".hidden/data", "./.hidden/data", f"file://{file.parent}"]
    names.append(f"{file.parent}/../data")
    assert {plan([name], 30).rows for name in names} == {10}
    assert plan(names, 30).rows == 10


def test_an_interval_covers_its_partitions_and_both_ends(tmp_path: Path) -> None:
    for day in range(1, 6):
        write(tmp_path / f"date=2026-01-0{day}" / "a.parquet", pictures(day))
    write(tmp_path / "other" / "a.parquet", pictures(100))

    def rows(**interval: Any) -> int:
        return plan([str(tmp_path)], 10, **interval).rows

    days = [date(2026, 1, number) for number in range(1, 6)]
    assert rows() == 115
    assert rows(first=days[1], last=days[3]) == 2 + 3 + 4
    assert rows(first=days[3]) == 4 + 5
    assert rows(last=days[0]) == 1
    with pytest.raises(DataError, match="between 2027-01-01 and …, found none"):
        rows(first=date(2027, 1, 1))


def test_a_partition_that_is_no_date_is_no_part_of_an_interval(tmp_path: Path) -> None:
    write(tmp_path / "date=2026-02-30" / "a.parquet", pictures(1))
    write(tmp_path / "date=2026-02-28" / "a.parquet", pictures(2))
    assert plan([str(tmp_path)], 10, first=date(2026, 1, 1)).rows == 2


@pytest.mark.full
def test_an_interval_of_a_partitioned_data_set_is_predicted(tmp_path: Path) -> None:
    for day in range(1, 6):
        write(tmp_path / "data" / f"date=2026-01-0{day}" / f"d{day}.parquet", pictures(day))
    ran(tmp_path / "data", tmp_path / "out", "--first=2026-01-02", "--last=2026-01-04")
    assert {one.partition("-")[0] for one in rows_of(tmp_path / "out")} == {"d2", "d3", "d4"}


# What is done again


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three good files and a damaged one, and the output of a run over them."""
    folder = tmp_path_factory.mktemp("begun")
    for number in range(3):
        write(folder / "data" / f"{number}.parquet", pictures(50, seed=number))
    damaged(folder / "data" / "3.parquet")
    assert "1 chunks failed" in ran(folder / "data", folder / "out", code=1)
    assert len(parts(folder / "out")) == 3
    return folder / "data", folder / "out"


@pytest.fixture
def source(begun: tuple[Path, Path]) -> Iterator[Path]:
    """The four files; in the end they are again as they were."""
    yield begun[0]
    for number in range(3):
        write(begun[0] / f"{number}.parquet", pictures(50, seed=number))
    damaged(begun[0] / "3.parquet")


@pytest.fixture
def output(begun: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the output."""
    return shutil.copytree(begun[1], tmp_path / "out")


@pytest.mark.full
def test_retry_partial_does_only_what_failed(source: Path, output: Path) -> None:
    before = stamps(output)
    ran(source, output, code=1)
    assert stamps(output) == before
    write(source / "3.parquet", pictures(50, seed=3))
    ran(source, output, "--retry=partial")
    after = stamps(output)
    assert before.items() < after.items()
    assert len(after) == 4
    assert len(rows_of(output)) == 200
    assert state(output)["errors"] == []


@pytest.mark.full
def test_retry_all_does_everything_again(source: Path, output: Path) -> None:
    before = stamps(output)
    write(source / "3.parquet", pictures(50, seed=3))
    ran(source, output, "--retry=all")
    after = stamps(output)
    assert before.keys() < after.keys()
    assert not any(after[name] == before[name] for name in before)
    assert len(rows_of(output)) == 200


@pytest.mark.full
def test_retry_none_publishes_what_is_there_and_the_next_run_does_the_rest(
    source: Path, output: Path, tmp_path: Path
) -> None:
    """The damaged file was repaired meanwhile; the next run is about other data, or about the same as well."""
    before = stamps(output)
    assert "1 chunks are left to the next run" in ran(source, output, "--retry=none")
    assert stamps(output) == before
    assert (output / "_SUCCESS").exists()

    write(source / "3.parquet", pictures(50, seed=3))
    today = write(tmp_path / "today" / "4.parquet", pictures(20)).parent
    ran(today, tmp_path / "next", f"--carry-over-from={output}")
    assert {one.partition("-")[0] for one in rows_of(tmp_path / "next")} == {"3", "4"}
    assert len(rows_of(tmp_path / "next")) == 70

    ran(source, tmp_path / "same", f"--carry-over-from={output}")
    assert len(rows_of(tmp_path / "same")) == 200


@pytest.mark.full
def test_retry_none_does_a_first_run_as_a_whole_and_leaves_only_what_failed(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "a.parquet", pictures(10)), damaged(tmp_path / "b.parquet")
    ran([good, bad], tmp_path / "out", "--retry=none")
    assert len(rows_of(tmp_path / "out")) == 10
    assert [one["file"] for one in state(tmp_path / "out", "_carried_over.json")] == [str(bad)]
    # What is still damaged in the next run is left to the one after it.
    ran(good, tmp_path / "next", "--retry=none", f"--carry-over-from={tmp_path / 'out'}")
    assert [one["file"] for one in state(tmp_path / "next", "_carried_over.json")] == [str(bad)]


@pytest.mark.full
def test_a_file_that_changed_between_two_attempts_is_done_again_and_one_that_is_gone_goes(
    source: Path, output: Path, tmp_path: Path
) -> None:
    before = stamps(output)
    write(source / "0.parquet", pictures(50, seed=9))
    (source / "1.parquet").unlink()
    (source / "3.parquet").unlink()
    ran(source, output)
    after = stamps(output)
    assert len(after) == 2
    assert len(before.items() & after.items()) == 1
    ran(source, tmp_path / "fresh")
    assert contents(output) == contents(tmp_path / "fresh")


@pytest.mark.full
def test_another_model_on_an_output_that_was_begun_is_refused_but_for_retry_all(source: Path, output: Path) -> None:
    before = stamps(output)
    linear = MLP.with_name("linear.onnx")
    said = ran(source, output, code=1, model_uri=linear)
    assert "was begun with the model mlp" in said
    assert "now it is linear" in said
    assert stamps(output) == before
    assert "was begun with the model" in state(output)["errors"][0]
    (source / "3.parquet").unlink()
    ran(source, output, "--retry=all", model_uri=linear)
    assert {version for _, _, version in rows_of(output).values()} == {state(output)["model"]["version"]}
    assert state(output)["model"]["name"] == "linear"


# Time


@pytest.mark.full
def test_a_run_that_will_miss_its_deadline_says_so_after_its_first_chunk(tmp_path: Path, slow: str) -> None:
    source, output = write_slow(tmp_path / "data", chunks=400, seconds=1), tmp_path / "out"
    with job(source, output, "--deadline-seconds=60", model_uri=slow, chunk_rows=20) as one:
        wait_until(lambda: (output / "_progress.json").exists() and state(output)["at_risk"])
        assert state(output)["status"] == "running"
        assert state(output)["chunks"] < 20
        assert state(output)["eta_seconds"] > 60
        one.process.terminate()
        assert one.ended()[0] == 130


@pytest.mark.full
def test_a_run_stops_at_its_deadline_and_is_finished_later(tmp_path: Path, slow: str) -> None:
    source, output = write_slow(tmp_path / "data", chunks=6, seconds=0.2), tmp_path / "out"
    said = ran(source, output, "--deadline-seconds=0.5", code=4, model_uri=slow, chunk_rows=20)
    assert "the deadline is over" in said
    assert (state(output)["status"], state(output)["at_risk"]) == ("late", True)
    assert not (output / "_SUCCESS").exists()
    before = stamps(output)
    assert len(before) < 6
    ran(source, output, "--deadline-seconds=90", model_uri=slow, chunk_rows=20)
    assert before.items() < stamps(output).items()
    assert len(rows_of(output)) == 120


@pytest.mark.full
def test_the_deadline_holds_while_a_single_chunk_takes_longer(tmp_path: Path, slow: str) -> None:
    source, output = write_slow(tmp_path / "data", chunks=1, seconds=16, rows=30_000), tmp_path / "out"
    with job(source, output, "--deadline-seconds=3", model_uri=slow) as one:
        code, _, _ = one.ended(seconds=40)  # the chunk takes a minute
        assert code == 4
    assert state(output)["status"] == "late"


@pytest.mark.full
def test_a_run_can_be_told_to_finish_whatever_its_deadline(tmp_path: Path, slow: str) -> None:
    source = write_slow(tmp_path / "data", chunks=4, seconds=0.2)
    ran(source, tmp_path / "out", "--deadline-seconds=0.5", "--on-deadline=finish", model_uri=slow, chunk_rows=20)
    progress = state(tmp_path / "out")
    assert (progress["status"], progress["at_risk"]) == ("done", True)
    assert len(parts(tmp_path / "out")) == 4


# Trials


@pytest.mark.full
def test_a_trial_publishes_nothing_and_tells_how_far_the_data_have_moved(tmp_path: Path) -> None:
    features = np.tile(real_digits(), (2, 1))[:2_000]
    usual = write(tmp_path / "usual.parquet", features, row_group_size=500)
    inverted = write(tmp_path / "inverted.parquet", 16 - features, row_group_size=500)
    shifts = {}
    for source in (usual, inverted):
        output = tmp_path / source.stem
        ran(source, output, "--trial", chunk_rows=500)
        assert {file.name for file in output.iterdir()} <= {"_trial.json", "_lock"}
        told = state(output, "_trial.json")
        assert (told["status"], told["rows"], told["rows_total"], told["chunks"]) == ("done", 500, 2_000, 1)
        assert told["rows_per_second"] > 0
        assert told["eta_seconds"] > 0
        shifts[source] = told["trial"]
    assert shifts[usual]["largest_feature_shift"] < 0.5
    assert shifts[inverted]["largest_feature_shift"] > 2
    assert shifts[inverted]["mean_feature_shift"] > 4 * shifts[usual]["mean_feature_shift"]
    assert shifts[inverted]["confidence_shift"] < shifts[usual]["confidence_shift"]
    ran(usual, tmp_path / "usual", chunk_rows=500)
    before = everything(tmp_path / "usual")
    ran(inverted, tmp_path / "usual", "--trial", chunk_rows=500)
    changed = {name for name, stamp in everything(tmp_path / "usual").items() if before[name] != stamp}
    assert {Path(name).name for name in changed} <= {"usual", "_trial.json"}


# Progress


@pytest.mark.full
def test_progress_only_grows(tmp_path: Path, slow: str) -> None:
    source = write_slow(tmp_path / "data", chunks=10, seconds=0.4)
    output = tmp_path / "out"
    seen: list[dict[str, Any]] = []
    with job(source, output, model_uri=slow, chunk_rows=20) as one:

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
    assert seen[len(seen) // 2]["eta_seconds"] > 0


@pytest.mark.full
def test_a_terminal_shows_a_bar_and_standard_output_stays_clean(tmp_path: Path, slow: str) -> None:
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
    except OSError:  # so a terminal says that nobody is at its other end any more
        pass
    out, _ = process.communicate(timeout=30)
    os.close(controller)
    assert process.returncode == 0
    assert "━" in shown.decode()
    assert "rows/s" in shown.decode()
    assert out.decode() == "done: 120 rows, 0 set aside\n"


# Cancelling


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_cancelled_run_says_so_at_once_and_can_go_on(tmp_path: Path, slow: str, number: signal.Signals) -> None:
    """SIGTERM as a manager sends it, to the job alone; Ctrl-C as a terminal sends it, to all of its processes."""
    source = write_slow(tmp_path / "data", chunks=8, seconds=0.3)
    output = tmp_path / "out"
    with job(source, output, model_uri=slow, chunk_rows=20) as one:
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
    ran(source, output, model_uri=slow, chunk_rows=20)
    assert before.items() < stamps(output).items()
    assert leftovers(output) == []


@pytest.mark.full
def test_a_run_is_cancelled_as_well_before_its_first_chunk(tmp_path: Path) -> None:
    """While thousands of footers are read, and during a trial."""
    first = write(tmp_path / "data" / "0.parquet", pictures(2, seed=0))
    for number in range(1, 6_000):
        (tmp_path / "data" / f"{number}.parquet").hardlink_to(first)
    for options in ([], ["--trial"]):
        with job(tmp_path / "data", tmp_path / "out", *options) as one:
            wait_until(lambda one=one: opened(one.process.pid, tmp_path / "data"))  # type: ignore[misc]
            one.process.send_signal(signal.SIGTERM)
            code, _, errors = one.ended(seconds=5)
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


@pytest.mark.full
def test_a_second_job_on_an_output_is_refused_and_disturbs_nothing(tmp_path: Path, slow: str) -> None:
    source = write_slow(tmp_path / "data", chunks=8, seconds=0.2)
    settings: dict[str, Any] = {"model_uri": slow, "chunk_rows": 20}
    with job(source, tmp_path / "out", **settings) as first:
        started = time.monotonic()
        first.wait_for_parts(1)
        os.killpg(first.process.pid, signal.SIGSTOP)
        before = everything(tmp_path / "out")
        for retry in ("all", "none"):
            said = ran(source, tmp_path / "out", f"--retry={retry}", code=3, **settings)
            assert f"process {first.process.pid} works on it" in said
        ran(tmp_path / "nowhere", tmp_path / "out", code=3)
        assert everything(tmp_path / "out") == before
        time.sleep(max(0.0, started + LINE_SECONDS - time.monotonic()))
        os.killpg(first.process.pid, signal.SIGCONT)
        code, _, errors = first.ended()
    assert code == 0
    assert "of 160 rows, " in errors  # a line now and then, where there is no terminal
    assert "\x1b" not in errors
    assert len(rows_of(tmp_path / "out")) == 160
