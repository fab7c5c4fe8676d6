"""What comes out of a batch job: the model's own answer to every row, whatever its columns are; of a trial, nothing."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.dataset.dataset import plan
from common.domain.digits import from_image
from tests.support.batch.digit_datasets import real_digits
from tests.support.batch.parquet_data import (
    LIST,
    answers_of,
    file_stamps,
    job,
    leftovers,
    parts,
    pictures,
    rows_of,
    run_job,
    state,
    write,
)
from tests.support.inputs.pictures import INVERTED, SEVEN_IMAGE, encoded
from tests.support.models.onnx_models import slow_reader
from tests.support.processes import wait_until


def test_every_row_gets_the_models_own_output_for_every_column_type(tmp_path: Path) -> None:
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
    pngs = [encoded(SEVEN_IMAGE), encoded(INVERTED), encoded(SEVEN_IMAGE, "JPEG")]
    read = answers_of(np.stack([from_image(png, 10**6) for png in pngs]))
    expected |= {f"p{row}": answer for row, answer in enumerate(zip(*read, strict=True))}
    pq.write_table(pa.table({"image": pngs, "id": ["p0", "p1", "p2"], "more": [1, 2, 3]}), tmp_path / "png.parquet")
    for hidden in ("_temporary/a.parquet", ".a.parquet", "_a.parquet"):
        write(tmp_path / "data" / hidden, pictures(5))
    (tmp_path / "data" / "notes.txt").write_text("no data")
    sources = [f"file://{tmp_path}/data", tmp_path / "png.parquet"]

    said = run_job(sources, tmp_path / "out", chunk_rows=200)
    got = rows_of(tmp_path / "out")
    assert got.keys() == expected.keys()
    for one, (digit, confidence, version) in got.items():
        assert (digit, version) == (expected[one][0], state(tmp_path / "out")["model"]["version"])
        assert confidence == pytest.approx(expected[one][1], abs=1e-5)
    schema = pq.read_schema(parts(tmp_path / "out")[0])
    assert [str(schema.field(name).type) for name in ("digit", "confidence")] == ["int8", "float"]
    assert "done: 2,103 rows, 0 rejected" in said
    progress = state(tmp_path / "out")
    assert progress["status"] == "done"
    assert progress["rows"] == progress["rows_total"] == 2_103
    assert progress["chunks"] == progress["chunks_total"] == 15  # two of each file but one
    assert state(tmp_path / "out", "_SUCCESS")["data_checksum"] == progress["data_checksum"]
    assert leftovers(tmp_path / "out") == []

    before = file_stamps(tmp_path / "out")
    assert "nothing to do" in run_job(sources, tmp_path / "out", chunk_rows=200)
    assert file_stamps(tmp_path / "out") == before


@pytest.mark.full
def test_finished_output_is_never_changed(tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", pictures(10))
    run_job(source, tmp_path / "out")
    before = file_stamps(tmp_path / "out")
    run_job(source, tmp_path / "out", "--retry=all")
    run_job(tmp_path / "nowhere", tmp_path / "out")
    with job(source, tmp_path / "out", model_uri=tmp_path / "no.onnx") as one:
        one.ended()
    assert file_stamps(tmp_path / "out") == before


@pytest.mark.full
def test_ids_of_any_type_are_unchanged(tmp_path: Path) -> None:
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
    run_job(tmp_path / "data", tmp_path / "out")
    for ids, chunk in zip(columns, plan([str(tmp_path / "data")], 100).chunks, strict=True):
        for folder, rows in ((tmp_path / "out", [0, 2]), (tmp_path / "out" / "_rejected", [1])):
            table = pq.read_table(folder / f"part-{chunk.name}.parquet", partitioning=None)
            assert table.column("id").to_pylist() == [ids.to_pylist()[row] for row in rows]
            assert table.schema.field("id").type == ids.type


@pytest.mark.full
def test_trial_publishes_nothing_and_reports_drift(tmp_path: Path) -> None:
    features = np.tile(real_digits(), (2, 1))[:2_000]
    usual = write(tmp_path / "usual.parquet", features, row_group_size=500)
    inverted = write(tmp_path / "inverted.parquet", 16 - features, row_group_size=500)
    slow = write(tmp_path / "slow.parquet", [[1.0, *features[0][1:]]])  # a second
    with job(slow, tmp_path / "seen", "--trial", model_uri=slow_reader(tmp_path / "mlp.onnx"), batching="on") as one:
        # A cluster's workers write there too, and see no other folder of the job.
        wait_until(lambda: any((tmp_path / "seen").glob(".trial-*/.part-*")) or one.process.poll() is not None)
        assert one.process.poll() is None
        assert one.ended()[0] == 0
    shifts = {}
    for source in (usual, inverted):
        output = tmp_path / source.stem
        run_job(source, output, "--trial", chunk_rows=500)
        assert {file.name for file in output.iterdir()} <= {"_trial.json", "_lock"}
        report = state(output, "_trial.json")
        assert (report["status"], report["rows"], report["rows_total"], report["chunks"]) == ("done", 500, 2_000, 1)
        assert report["rows_per_second"] > 0
        assert report["eta_seconds"] > 0
        shifts[source] = report["trial"]
    assert shifts[usual]["largest_feature_shift"] < 0.5
    assert shifts[inverted]["largest_feature_shift"] > 2
    assert shifts[inverted]["mean_feature_shift"] > 4 * shifts[usual]["mean_feature_shift"]
    assert shifts[inverted]["confidence_shift"] < shifts[usual]["confidence_shift"]
    for seconds, at_risk in ((0.001, True), (1_000, False)):
        run_job(usual, tmp_path / "usual", "--trial", f"--deadline-seconds={seconds}", chunk_rows=500)
        assert state(tmp_path / "usual", "_trial.json")["at_risk"] == at_risk
    run_job(usual, tmp_path / "usual", chunk_rows=500)
    before = file_stamps(tmp_path / "usual")
    run_job(inverted, tmp_path / "usual", "--trial", chunk_rows=500)
    changed = {name for name, stamp in file_stamps(tmp_path / "usual").items() if before[name] != stamp}
    assert {Path(name).name for name in changed} <= {"usual", "_trial.json"}
