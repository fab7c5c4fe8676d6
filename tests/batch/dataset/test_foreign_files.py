"""Files as other tools write them: what is unambiguous is read, the rest is refused in one sentence."""

import base64
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.dataset.files import DataError, list_files
from tests.support.batch.parquet_data import pictures, rejected_of, rows_of, run_job, state, write
from tests.support.inputs.pictures import SEVEN_IMAGE, encoded

PNG = encoded(SEVEN_IMAGE)
BASE64 = base64.b64encode(PNG).decode()
ONES = [1.0] * 64
IMAGES: dict[str, Any] = {
    "binary_view": pa.array([PNG, None], pa.binary_view()),
    "dictionary": pa.array([PNG, None]).dictionary_encode(),
    "struct": pa.array([{"bytes": PNG, "path": None}, {"bytes": None, "path": "a.png"}]),
    "base64": [BASE64, "?"],
    "lines": ["\n".join([BASE64[:76], BASE64[76:]]), None],
    "data_uri": pa.array([f"data:image/png;base64,{BASE64}", "data:,text"], pa.large_string()),
    "text_view": pa.array([BASE64, None], pa.string_view()),
    "text_dictionary": pa.array([BASE64, None]).dictionary_encode(),
}
PIXELS: dict[str, Any] = {
    "list_view": pa.array([ONES, None], pa.list_view(pa.float32())),
    "large_list_view": pa.array([ONES, ONES[1:]], pa.large_list_view(pa.float64())),
    "decimals": pa.array([[Decimal("1.50")] * 64, [Decimal(17)] * 64], pa.list_(pa.decimal128(5, 2))),
}


def write_table(file: Path, columns: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)


def test_types_and_names_of_other_tools_are_read(tmp_path: Path) -> None:
    """Of each file the first row is a picture, the second is not."""
    data, out = tmp_path / "data", tmp_path / "out"
    for name, values in IMAGES.items():
        write_table(data / f"{name}.parquet", {"Id": [f"{name}-0", f"{name}-1"], "IMAGE": values})
    for name, values in PIXELS.items():
        ids = pa.array([f"{name}-0", f"{name}-1"], pa.string_view())
        write_table(data / f"{name}.parquet", {"id": ids, "pixels": values, "PIXELS": [1, 2]})
    run_job(data, out)
    names = [*IMAGES, *PIXELS]
    assert {*rows_of(out)} == {f"{name}-0" for name in names}
    assert {rows_of(out)[f"{name}-0"][0] for name in IMAGES} == {7}
    assert {*rejected_of(out)} == {f"{name}-1" for name in names}
    assert rejected_of(out)["base64-1"] == "image: expected base64, or a data URI of it, got '?'"


@pytest.mark.full
def test_ids_of_128_bits_are_unchanged(tmp_path: Path) -> None:
    ids = pa.array([Decimal(2) ** 120, None], pa.decimal128(38, 0))
    write_table(tmp_path / "a.parquet", {"id": ids, "pixels": [ONES, ONES]})
    run_job(tmp_path / "a.parquet", tmp_path / "out")
    assert {*rows_of(tmp_path / "out")} == {Decimal(2) ** 120, None}


@pytest.mark.full
def test_columns_with_other_names_are_set_and_ambiguous_ones_are_refused(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_table(data / "named.parquet", {"scan": ["a"], "id": ["b"], "ink": [ONES]})
    run_job(data, out, column_id="scan", column_pixels="ink")
    assert {*rows_of(out)} == {"a"}
    write_table(data / "cases.parquet", {"ID": [1], "Id": [2], "pixels": [ONES]})
    twice = pa.table([pa.array([1]), pa.array([2]), pa.array([ONES])], ["id", "id", "pixels"])
    pq.write_table(twice, data / "twice.parquet")
    run_job(data, tmp_path / "refused", code=1)
    errors = {Path(error.partition(": ")[0]).stem: error for error in state(tmp_path / "refused")["errors"]}
    assert "got the columns ID and Id: set COLUMN_ID to one of them" in errors["cases"]
    assert "got 2 columns with the name id: rename one" in errors["twice"]
    assert "set COLUMN_ID, COLUMN_PIXELS" in errors["named"]
    said = run_job(data / "cases.parquet", tmp_path / "missing", code=1, column_id="scan")
    assert "COLUMN_ID=scan: there is no such column, the file has ID, Id, pixels" in said


NAMES = ["a b.parquet", "100%25.parquet", "k=v/x#1.pq", "größe=ä/日本.PARQUET", "plain", "old.parquet.gz", "x?y.parq"]
NOT_DATA = ["_metadata", "_delta/a.parquet", ".a.parquet.crc", "notes", "notes.txt", "a.parquet.tmp", "b.csv"]


def test_files_are_data_by_their_names(tmp_path: Path) -> None:
    for name in NAMES:
        write(tmp_path / name, pictures(1))
    for name in NOT_DATA:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no data")
    found = {str(Path(file).relative_to(tmp_path)) for file in list_files([str(tmp_path)], None, None)}
    assert found == {*NAMES}
    for name in NAMES:
        file = str(tmp_path / name)
        assert list_files([file], None, None) == list_files([f"file://{file}"], None, None) == [file]
    assert list_files([f"file://{tmp_path}/a%20b.parquet"], None, None) == [str(tmp_path / "a b.parquet")]


@pytest.mark.full
def test_names_of_every_kind_are_processed_and_a_packed_file_is_refused(tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        file = tmp_path / "data" / name
        write_table(file, {"id": [number], "pixels": [ONES]})
    run_job(tmp_path / "data", tmp_path / "out")
    assert {*rows_of(tmp_path / "out")} == {*range(len(NAMES))}
    file.with_suffix(".parquet.gz").write_bytes(gzip.compress(file.read_bytes()))
    said = run_job(tmp_path / "data", tmp_path / "again", code=1)
    assert "got one that is compressed as a whole: unpack it" in said


def write_delta_table(folder: Path) -> list[str]:
    """A table whose second version has replaced a file; the current files."""
    old, new = write(folder / "old.parquet", pictures(3)), write(folder / "new.parquet", pictures(2))
    log = folder / "_delta_log"
    log.mkdir()
    for version, actions in enumerate(([{"add": {"path": old.name}}], [{"remove": {"path": old.name}}])):
        (log / f"{version:020d}.json").write_text("\n".join(map(json.dumps, actions)))
    return [str(new)]


@pytest.mark.full
def test_folder_of_a_versioned_table_is_refused_and_its_current_files_are_read(tmp_path: Path) -> None:
    files = write_delta_table(tmp_path / "delta")
    said = run_job(tmp_path / "delta", tmp_path / "out", code=1)
    assert "this is a table of Delta Lake, whose folder also holds files of earlier versions" in said
    run_job(files, tmp_path / "out")
    assert {*rows_of(tmp_path / "out")} == {"new-0", "new-1"}
    write(tmp_path / "iceberg" / "data" / "a.parquet", pictures(1))
    (tmp_path / "iceberg" / "metadata").mkdir()
    (tmp_path / "iceberg" / "metadata" / "v1.metadata.json").write_text("{}")
    with pytest.raises(DataError, match="this is a table of Iceberg"):
        list_files([str(tmp_path / "iceberg")], None, None)
