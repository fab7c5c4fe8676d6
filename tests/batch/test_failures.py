"""What can be wrong with data, disk, model or settings of a batch job: each is reported, nothing is half published."""

import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import helper

from tests.support.batch.parquet_data import (
    LIST,
    contents,
    leftovers,
    parts,
    pictures,
    rejected_of,
    rows_of,
    run_job,
    stamps,
    state,
    write,
)
from tests.support.inputs.pictures import SEVEN_IMAGE, encoded
from tests.support.samples import MLP

GOOD = [1.0] * 64
BAD: dict[str, Any] = {
    "a missing picture": None,
    "63 numbers": GOOD[1:],
    "NaN": [float("nan"), *GOOD[1:]],
    "17": [17.0, *GOOD[1:]],
    "no ink": [0.0] * 64,
}


def table(**columns: Any) -> pa.Table:
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def test_bad_files_and_rows_are_reported_and_the_others_are_processed(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write(data / "good.parquet", pictures(10))
    write(data / "rows.parquet", [GOOD, *BAD.values()], pa.list_(pa.float32()))
    pngs = [encoded(SEVEN_IMAGE), b"no picture", encoded(SEVEN_IMAGE)[:80], None]
    pq.write_table(table(id=["png-good", "png-1", "png-2", "png-3"], image=pngs), data / "pngs.parquet")
    (data / "corrupt.parquet").write_bytes(bytes(range(256)) * 10)
    (data / "empty.parquet").write_bytes(b"")
    whole = write(tmp_path / "whole", pictures(2_000)).read_bytes()
    (data / "truncated.parquet").write_bytes(whole[: len(whole) // 2])
    (data / "middle.parquet").write_bytes(whole[:5_000] + b"\xff" * 5_000 + whole[10_000:])
    pq.write_table(table(pixels=[GOOD]), data / "column.parquet")
    pq.write_table(table(id=[1], pixels=[["ink"] * 64]), data / "dtype.parquet")
    pq.write_table(table(id=[1], image=[1]), data / "text.parquet")
    pq.write_table(pq.read_table(data / "good.parquet").slice(0, 0), data / "none.parquet")

    said = run_job(data, out, code=1)
    errors = state(out)["errors"]
    for name in ("corrupt", "empty", "truncated", "column", "dtype", "text", "middle"):
        (error,) = [error for error in errors if f"/{name}.parquet: " in error]
        assert error in said
    assert "expected the columns id and pixels" in "".join(errors)
    assert (state(out)["status"], state(out)["failed_chunks"], state(out)["rejected"]) == ("failed", 7, 8)
    assert not (out / "_SUCCESS").exists()
    assert leftovers(out) == []
    assert set(rows_of(out)) == {f"good-{row}" for row in range(10)} | {"rows-0", "png-good"}
    reasons = rejected_of(out)
    assert set(reasons) == {f"rows-{row}" for row in range(1, 6)} | {"png-1", "png-2", "png-3"}
    assert [reasons[f"rows-{row}"].partition(": ")[2][:19] for row in range(1, 6)] == [
        "expected 64 numbers",
        "expected 64 numbers",
        "expected numbers fr",
        "expected numbers fr",
        "a picture without i",
    ]


@pytest.mark.full
def test_too_many_rejected_rows_fail_the_run_also_when_it_is_retried(tmp_path: Path) -> None:
    """In one chunk, or in several chunks and attempts together."""
    source = write(tmp_path / "data" / "a.parquet", [GOOD, None, None, None] * 4, LIST, row_group_size=4)
    settings: dict[str, Any] = {"chunk_rows": 4, "workers": 1}
    for limit, chunks, attempts in ((2, 0, 1), (7, 4, 2)):
        out = tmp_path / f"out-{limit}"
        for _ in range(attempts):
            said = run_job(source, out, code=1, max_rejected_rows=limit, **settings)
            assert f"over {limit} rows were rejected" in said
            assert state(out)["status"] == "failed"
            assert not (out / "_SUCCESS").exists()
            assert len(parts(out)) <= chunks
    run_job(source, out, max_rejected_rows=12, **settings)
    assert len(rejected_of(out)) == state(out)["rejected"] == 12
    assert state(out)["rows"] == 16


@pytest.mark.full
def test_missing_files_fail_the_run_and_missing_rows_give_an_empty_output(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source, words in (("empty", "expected Parquet files"), ("nowhere", "there is no such file or folder")):
        out = tmp_path / f"out-{source}"
        assert words in run_job(tmp_path / source, out, code=1)
        assert state(out)["status"] == "failed"
        assert words in state(out)["errors"][0]
        assert not (out / "_SUCCESS").exists()
    schema = pa.schema({"id": pa.int64(), "pixels": LIST})
    (tmp_path / "rowless").mkdir()
    pq.write_table(schema.empty_table(), tmp_path / "rowless" / "group.parquet")
    pq.ParquetWriter(tmp_path / "rowless" / "none.parquet", schema).close()
    assert "done: 0 rows" in run_job(tmp_path / "rowless", tmp_path / "out")
    assert (tmp_path / "out" / "_SUCCESS").exists()
    said = run_job(tmp_path / "rowless" / "none.parquet", tmp_path / "trial", "--trial", code=1)
    assert "no row" in said


def fails_on_sixteen(path: Path) -> Path:
    """The mlp reader, but it looks up the first pixel in a table that is one too short for 16."""
    model = onnx.load(MLP)
    for node in model.graph.node:
        node.output[:] = ["quick" if name == "probabilities" else name for name in node.output]
    nodes = [
        helper.make_node("Slice", ["features", "zero", "one", "one"], ["corner"]),
        helper.make_node("Cast", ["corner"], ["index"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["found"]),
        helper.make_node("Add", ["quick", "found"], ["probabilities"]),
    ]
    model.graph.node.extend(nodes)
    constants = {"zero": np.array([0]), "one": np.array([1]), "table": np.zeros(16, np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.save(model, path)
    return path


@pytest.mark.full
def test_a_row_that_the_model_cannot_process_fails_its_chunk_alone(tmp_path: Path) -> None:
    features = pictures(60)
    features[:, 0] = 0
    features[25, 0] = 16
    source = write(tmp_path / "a.parquet", features, row_group_size=20)
    model = fails_on_sixteen(tmp_path / "mlp.onnx")
    said = run_job(source, tmp_path / "out", code=1, model_uri=model, chunk_rows=20)
    assert f"{source}: the model mlp cannot process this input" in said
    assert (state(tmp_path / "out")["status"], state(tmp_path / "out")["failed_chunks"]) == ("failed", 1)
    assert len(rows_of(tmp_path / "out")) == 40
    assert not (tmp_path / "out" / "_SUCCESS").exists()


@pytest.mark.full
def test_wrong_model_setting_or_output_is_reported_in_one_line(tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", pictures(10))
    silent = socket.create_server(("127.0.0.1", 0))
    never = f"http://127.0.0.1:{silent.getsockname()[1]}/mlp.onnx"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"model_uri": tmp_path / "no.onnx"}, "no.onnx"),
        ({"model_uri": source}, "a.parquet"),
        ({"model_uri": MLP.with_name("quality.onnx")}, "quality reads no digits"),
        ({"model_sha256": "0" * 64}, "0000"),
        ({"model_uri": never, "model_download_timeout_seconds": 0.2}, "MODEL_DOWNLOAD_TIMEOUT_SECONDS"),
        ({"workers": 0}, "WORKERS"),
        ({"chunk_rows": "many"}, "CHUNK_ROWS"),
    ]
    for number, (settings, words) in enumerate(cases):
        said = run_job(source, tmp_path / f"out-{number}", code=1, **settings)
        assert words in said
        assert not parts(tmp_path / f"out-{number}")
    silent.close()
    (tmp_path / "file").write_text("no folder")
    assert "file" in run_job(source, tmp_path / "file", code=1)
    wrong = ("--first=2026-13-01", "--deadline-seconds=0", "--output=s3://bucket/out")
    said = run_job(source, tmp_path / "out", *wrong, code=2)
    lines = [line for line in said.splitlines() if ": error: " in line]
    assert sorted(line.split()[6] for line in lines) == ["--deadline-seconds:", "--first:", "--output:"]
    assert "type=" not in said
    assert "errors.pydantic" not in said


@pytest.mark.full
def test_output_that_cannot_be_written_is_reported_with_its_name_also_by_a_trial(tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", pictures(10))
    (tmp_path / "locked" / "_lock").mkdir(parents=True)
    for output in (Path("/proc/nowhere"), tmp_path / ("n" * 300), tmp_path / "locked"):
        for options in ([], ["--trial"])[: 1 if output.name == "locked" else 2]:
            said = run_job(source, output, *options, code=1)
            assert said.startswith(f"failed: --output {output}: nothing can be written there (")
            assert said.endswith("): name another folder\n")


@pytest.mark.full
def test_damaged_state_of_an_output_is_reported_in_one_line(tmp_path: Path) -> None:
    source, output = write(tmp_path / "a.parquet", pictures(10)), tmp_path / "out"
    run_job(source, output)
    deferred = f"--deferred-from={output}"
    (output / "_deferred.json").write_text("junk")
    assert f"{output}/_deferred.json cannot be read" in run_job(source, tmp_path / "next", deferred, code=1)
    (output / "_SUCCESS").unlink()
    for name in ("_failed.json", "_manifest.json"):
        (output / name).write_text("junk")
        said = run_job(source, output, "--retry=none", code=1)
        assert (
            said == f"failed: {output}/{name} cannot be read (it is not what a job writes there): use another output\n"
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.full
@pytest.mark.mount
def test_full_disk_fails_the_run_which_resumes_when_there_is_space(tmp_path: Path, small_disk: Path) -> None:
    source, out = write(tmp_path / "a.parquet", pictures(20_000), row_group_size=2_500), small_disk / "out"
    said = run_job(source, out, code=1, chunk_rows=2_500)
    assert "No space left on device" in said
    assert state(out)["status"] == "failed"
    assert "No space left on device" in state(out)["errors"][0]
    assert not (out / "_SUCCESS").exists()
    assert leftovers(out) == []
    before = stamps(out)
    assert 0 < len(before) < 8

    filler = small_disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while file.write(b"\0" * 4_096) == 4_096:
                pass
    except OSError:
        pass
    said = run_job(source, out, code=1, chunk_rows=2_500)  # its state cannot be written either
    assert f"--output {out}: nothing can be written there (No space left on device)" in said
    assert stamps(out) == before

    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    run_job(source, out, chunk_rows=2_500)
    assert before.items() < stamps(out).items()
    run_job(source, tmp_path / "whole", chunk_rows=2_500)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.full
@pytest.mark.parametrize(
    "source",
    [
        "s3://KEY:sesame@bucket/scans?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1",
        "s3://bucket/scans?secret_key=sesame&access_key=KEY&endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1",
        "s3://bucket/scans?unknown=sesame",
        "ftp://me:sesame@host/scans",
        "/nowhere?token=sesame",
    ],
)
def test_no_secret_of_an_input_is_printed_or_written(source: str, tmp_path: Path) -> None:
    said = run_job(source, tmp_path, code=1, aws_ec2_metadata_disabled="true", aws_max_attempts=1)
    assert "failed: " in said
    assert state(tmp_path)["errors"][0] in said
    assert "***" in said
    assert "sesame" not in said


@pytest.mark.full
@pytest.mark.parametrize("option", ["--output=", "--engine=", ""])
def test_no_secret_of_a_wrong_command_line_is_printed(option: str, tmp_path: Path) -> None:
    said = run_job(tmp_path, tmp_path / "out", f"{option}s3://KEY:sesame@bucket/p?token=sesame", code=2)
    assert "s3://***@bucket/p?***" in said
    assert "sesame" not in said


@pytest.mark.full
def test_incomplete_file_does_not_appear(tmp_path: Path) -> None:
    source, out = write(tmp_path / "a.parquet", pictures(20_000), row_group_size=10_000), tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        said = run_job(source, out, code=1, chunk_rows=10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in said
    assert state(out)["status"] == "failed"
    assert parts(out) == []
    assert leftovers(out) == []
    run_job(source, out, chunk_rows=10_000)
    assert len(rows_of(out)) == 20_000
