"""Columns of Parquet files become features as a whole; whatever a row holds, it is a picture or it has a reason."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from batch.dataset.column_types import input_columns
from batch.dataset.columns import from_fields, from_images, read_rows
from tests.support.inputs.pictures import SEVEN_IMAGE, encoded

ROW = [1.0] * 64
KINDS = [
    pa.list_(pa.float32()),
    pa.list_(pa.float64()),
    pa.large_list(pa.float32()),
    pa.large_list(pa.float16()),
    pa.list_(pa.float32(), 64),
    pa.list_(pa.float64(), 64),
    pa.list_(pa.int64(), 64),
    pa.list_(pa.int64()),
    pa.list_(pa.uint8()),
    pa.large_list(pa.int16()),
]
LENGTH = "pixels: expected 64 numbers"
RANGE = "pixels: expected numbers from 0 to 16.0"
INK = "pixels: a picture without ink"


def from_pixels(column: Any) -> tuple[NDArray[np.float32], list[str | None]]:
    rows, reasons = from_fields({"pixels": column})
    return rows["features"], reasons


def whole(value: float, kind: pa.DataType) -> Any:
    return int(value) if pa.types.is_integer(kind.value_type) else np.float16(value) if "half" in str(kind) else value


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_lists_of_every_kind_become_the_same_features(kind: pa.DataType) -> None:
    values = np.random.default_rng(1).integers(0, 17, (50, 64))
    column = pa.array([[whole(float(cell), kind) for cell in row] for row in values], kind)
    features, reasons = from_pixels(column)
    assert features.dtype == np.float32
    assert np.array_equal(features, values)
    assert not any(reasons)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_missing_pictures_and_numbers_are_rejected_in_lists_of_every_kind(kind: pa.DataType) -> None:
    row = [whole(1.0, kind)] * 64
    features, reasons = from_pixels(pa.array([row, None, [None, *row[1:]], row], kind))
    assert reasons == [None, LENGTH, RANGE, None]
    assert (features[[0, 3]] == 1).all()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW[1:], LENGTH),
        ([*ROW, 1.0], LENGTH),
        ([], LENGTH),
        (None, LENGTH),
        ([None, *ROW[1:]], RANGE),
        ([float("nan"), *ROW[1:]], RANGE),
        ([float("nan")] * 64, RANGE),
        ([float("inf"), *ROW[1:]], RANGE),
        ([-1.0, *ROW[1:]], RANGE),
        ([17.0, *ROW[1:]], RANGE),
        ([0.0] * 64, INK),
        ([-0.0] * 64, INK),
        ([16.0] * 64, None),
        ([1e-40] + [0.0] * 63, None),
    ],
)
def test_rejected_row_has_a_reason_and_does_not_change_other_rows(row: Any, reason: str | None) -> None:
    features, reasons = from_pixels(pa.array([ROW, row, ROW], pa.list_(pa.float32())))
    assert (reasons or [None] * 3) == [None, reason, None]
    assert (features[[0, 2]] == 1).all()


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.int32(), pa.float64()], ids=str)
def test_number_outside_float32_rejects_only_its_row(kind: pa.DataType) -> None:
    wide = [2**24 + 1] * 64 if pa.types.is_integer(kind) else [1e300] * 64
    _, reasons = from_pixels(pa.array([[1] * 64, wide], pa.list_(kind)))
    assert reasons == [None, RANGE]


@settings(max_examples=50)
@given(
    st.lists(st.none() | st.lists(st.none() | st.sampled_from([0.0, 1.0, 16.0, 17.0, float("nan")]), max_size=3)),
    st.sampled_from([pa.list_, pa.large_list]),
    st.sampled_from([pa.float32(), pa.float64()]),
    st.integers(0, 3),
)
def test_each_row_is_checked_independently_of_the_others(rows: list[Any], of: Any, kind: Any, start: int) -> None:
    """Rows alone, together, and of a column that was cut: the same reasons; short lists are filled up to 64 cells."""
    rows = [row if row is None or len(row) == 1 else [*row, *[1.0] * (64 - len(row))] for row in rows]
    column = pa.array(rows, of(kind)).slice(start)
    features, reasons = from_pixels(column)
    alone = [from_pixels(pa.array([row], of(kind))) for row in rows[start:]]
    assert (reasons or [None] * len(column)) == [(reason or [None])[0] for _, reason in alone]
    for row, (one, reason) in enumerate(alone):
        assert any(reason) or np.array_equal(features[row], one[0])


def test_images_are_decoded_and_damaged_ones_have_a_reason() -> None:
    png, blank = encoded(SEVEN_IMAGE), encoded(SEVEN_IMAGE.point(lambda _: 255))
    rows, reasons = from_images(pa.array([png, None, b"", png[:60], blank, encoded(SEVEN_IMAGE, "JPEG")]))
    assert rows["features"][0].any()
    assert rows["features"][5].any()
    assert reasons[0] is None is reasons[5]
    for reason, words in zip(reasons[1:5], ("got null", "PNG, JPEG or WebP", "damaged", "without ink"), strict=True):
        assert reason is not None
        assert words in reason


def test_ids_of_any_type_stay_with_their_rows() -> None:
    for ids in ([3, None, 1], ["a", "b", None], [b"\0", b"", b"x"], [{"a": 1}, {"a": None}, None], [[1], [], None]):
        column = pa.array(ids)
        batch = pa.record_batch({"id": column, "pixels": pa.array([ROW, None, ROW], pa.list_(pa.float32(), 64))})
        rows = read_rows(batch, ["pixels"])
        assert rows.ids.to_pylist() == [ids[0], ids[2]]
        assert rows.ids.type == column.type
        assert rows.rejected_ids.to_pylist() == [ids[1]]
        assert rows.reasons == [LENGTH]


@pytest.mark.parametrize(
    ("columns", "got"),
    [
        ({"pixels": pa.list_(pa.float32())}, "got pixels"),
        ({"id": pa.int64()}, "got id"),
        ({"id": pa.int64(), "pixels": pa.list_(pa.string())}, "got pixels as list<element: string>"),
        ({"id": pa.int64(), "pixels": pa.float32()}, "got pixels as float"),
        ({"id": pa.int64(), "image": pa.int64()}, "got image as int64"),
        ({}, "got none"),
    ],
)
def test_unexpected_columns_are_refused_with_what_was_expected(columns: dict[str, Any], got: str) -> None:
    with pytest.raises(ValueError, match="expected the columns id and pixels") as refused:
        input_columns(pa.schema(columns))
    assert got.replace("element", "item") in str(refused.value).replace("element", "item")
