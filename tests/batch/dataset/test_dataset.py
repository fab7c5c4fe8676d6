"""What one batch job covers: which files and rows, in which chunks, of which interval."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from batch.dataset.dataset import plan
from batch.dataset.files import DataError
from tests.support.batch.parquet_data import pictures, rows_of, run_job, write


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


def test_file_is_read_once_if_it_is_named_in_several_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_partition_without_a_valid_date_is_outside_every_interval(tmp_path: Path) -> None:
    write(tmp_path / "date=2026-02-30" / "a.parquet", pictures(1))
    write(tmp_path / "date=2026-02-28" / "a.parquet", pictures(2))
    assert plan([str(tmp_path)], 10, first=date(2026, 1, 1)).rows == 2


@pytest.mark.full
def test_an_interval_of_a_partitioned_data_set_is_predicted(tmp_path: Path) -> None:
    for day in range(1, 6):
        write(tmp_path / "data" / f"date=2026-01-0{day}" / f"d{day}.parquet", pictures(day))
    run_job(tmp_path / "data", tmp_path / "out", "--first=2026-01-02", "--last=2026-01-04")
    assert {one.partition("-")[0] for one in rows_of(tmp_path / "out")} == {"d2", "d3", "d4"}
