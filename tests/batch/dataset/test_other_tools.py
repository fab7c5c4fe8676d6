"""Files as DuckDB, polars and Delta Lake themselves write them, and an output as DuckDB reads it."""

from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from tests.support.batch.parquet_data import pictures, rejected_of, rows_of, run_job, write
from tests.support.inputs.pictures import SEVEN_IMAGE, encoded

pytestmark = pytest.mark.full

PNG = encoded(SEVEN_IMAGE)


def test_files_that_duckdb_writes_are_read_with_dates_of_infinity_beside_the_data(tmp_path: Path) -> None:
    pixels = "list_transform(range(64), lambda place: (id + place) % 17)"
    query = f"SELECT id, {pixels} AS pixels, DATE 'infinity' AS day FROM range(1000) AS ids(id)"
    duckdb.sql(f"COPY ({query}) TO '{tmp_path}/data.parquet' (ROW_GROUP_SIZE 100)")
    run_job(tmp_path / "data.parquet", tmp_path / "out", chunk_rows=200)
    assert {*rows_of(tmp_path / "out")} == {*range(1_000)}


def test_frames_that_polars_writes_are_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = pictures(3)
    pixels = {"id": ["p0", "p1", "p2"], "pixels": rows.tolist()}
    pl.DataFrame(pixels, schema={"id": pl.String, "pixels": pl.List(pl.Float32)}).write_parquet(
        tmp_path / "data" / "list.parquet"
    )
    arrays = pl.DataFrame(
        {"ID": ["a0", "a1", "a2"], "Pixels": rows}, schema_overrides={"Pixels": pl.Array(pl.Float64, 64)}
    )
    arrays.write_parquet(tmp_path / "data" / "array.pq")
    images = {"id": ["i0", "i1"], "image": [PNG, None], "day": [date(2026, 1, 1)] * 2}
    pl.DataFrame(images).write_parquet(tmp_path / "data" / "images.PARQUET", compression="zstd")
    run_job(tmp_path / "data", tmp_path / "out")
    read = rows_of(tmp_path / "out")
    assert {*read} == {"p0", "p1", "p2", "a0", "a1", "a2", "i0"}
    assert [read[f"a{row}"][0] for row in range(3)] == [read[f"p{row}"][0] for row in range(3)]
    assert read["i0"][0] == 7
    assert {*rejected_of(tmp_path / "out")} == {"i1"}


def test_the_current_files_of_a_delta_table_are_read_by_the_listing_of_the_readme(tmp_path: Path) -> None:
    table = tmp_path / "table"
    for mode, first in (("append", 0), ("overwrite", 100), ("append", 200)):
        ids = [str(first + row) for row in range(3)]
        pixels = pa.array(list(pictures(3)), pa.list_(pa.float32()))
        write_deltalake(table, pa.table({"id": ids, "pixels": pixels}), mode=mode)  # type: ignore[call-overload]
    said = run_job(table, tmp_path / "refused", code=1)
    assert "this is a table of Delta Lake" in said
    run_job(DeltaTable(table).file_uris(), tmp_path / "out")
    assert {*rows_of(tmp_path / "out")} == {"100", "101", "102", "200", "201", "202"}


def test_duckdb_reads_the_output_folder_as_the_readme_says(tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", np.concatenate([pictures(40), np.zeros((1, 64), np.float32)]))
    run_job(source, tmp_path / "by-hand", chunk_rows=10)
    counted = duckdb.execute(
        f"SELECT digit, count(*) FROM '{tmp_path}/by-hand/*.parquet' GROUP BY digit ORDER BY digit"
    ).fetchall()
    digits = [digit for digit, *_ in rows_of(tmp_path / "by-hand").values()]
    assert counted == [(digit, digits.count(digit)) for digit in sorted(set(digits))]
    assert sum(count for _, count in counted) == 40
