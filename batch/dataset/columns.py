"""Columns of a Parquet file -> features, as a whole and not row by row; and which rows are no pictures, and why."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from common.domain import digits
from common.domain.errors import InvalidInput
from common.domain.ink import FULL_CELL

EXPECTED = (
    f"expected the columns id and pixels (a list of {digits.FEATURES} float32, 0 to {FULL_CELL}), or id and image "
    "(PNG or JPEG bytes)"
)
MAX_PIXELS = 4 * 2**20


class Rows(NamedTuple):
    """Features of shape (n, 64), float32, of the good rows; their ids; and the others' ids with a reason for each."""

    features: NDArray[np.float32]
    ids: pa.Array
    rejected_ids: pa.Array
    reasons: list[str]


def picture_column(schema: pa.Schema) -> str:
    """`pixels` or `image`, whichever there is; raises ValueError where the columns are not what is expected."""
    names = schema.names
    if "id" in names and "pixels" in names:
        kind = schema.field("pixels").type
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if lists and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
            return "pixels"
        raise ValueError(f"{EXPECTED}; got pixels as {kind}")
    if "id" in names and "image" in names:
        kind = schema.field("image").type
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return "image"
        raise ValueError(f"{EXPECTED}; got image as {kind}")
    raise ValueError(f"{EXPECTED}; got {', '.join(names) or 'none'}")


def read_rows(batch: pa.RecordBatch, column: str) -> Rows:
    """The rows of a batch with the columns `id` and `column`."""
    ids, values = batch.column("id"), batch.column(column)
    features, reasons = from_images(values) if column == "image" else from_pixels(values)
    good = np.array([reason is None for reason in reasons]) if any(reasons) else None
    if good is None:
        return Rows(features, ids, ids.slice(0, 0), [])
    mask = pa.array(good)
    return Rows(features[good], ids.filter(mask), ids.filter(pc.invert(mask)), [reason for reason in reasons if reason])


def from_pixels(values: Any) -> tuple[NDArray[np.float32], list[str | None]]:
    """Features, and for each row what is wrong with it; rows that are wrong hold anything."""
    count = len(values)
    lengths = pc.list_value_length(values)
    if pc.all(pc.equal(lengths, digits.FEATURES), skip_nulls=False).as_py() is not False and not values.null_count:
        features, whole = _table(values), None
    else:
        whole = np.asarray(pc.fill_null(pc.equal(lengths, digits.FEATURES), False))
        features = np.zeros((count, digits.FEATURES), np.float32)
        features[whole] = _table(values.filter(pa.array(whole)))
    most = features.max(axis=1, initial=0.0)
    if whole is None and features.min(initial=0.0) >= 0 and most.max(initial=0.0) <= FULL_CELL and most.all():
        return features, []  # as nearly always: nothing is wrong, and NaN compares as wrong
    return features, _reasons(features, whole if whole is not None else np.ones(count, bool))


def _table(values: Any) -> NDArray[np.float32]:
    """Lists of 64 -> shape (n, 64), without a copy where they are float32 already; a missing number is NaN."""
    flat = values.flatten()
    if flat.null_count or flat.type != pa.float32():
        flat = pc.fill_null(flat.cast(pa.float32(), safe=False), float("nan"))
    table: NDArray[np.float32] = flat.to_numpy(zero_copy_only=False).reshape(-1, digits.FEATURES)
    return table


def _reasons(features: NDArray[np.float32], whole: NDArray[np.bool_]) -> list[str | None]:
    in_range = np.asarray(((features >= 0) & (features <= FULL_CELL)).all(axis=1))
    ink = np.asarray(features.any(axis=1))
    return [
        f"pixels: expected {digits.FEATURES} numbers"
        if not is_whole
        else f"pixels: expected numbers from 0 to {FULL_CELL}"
        if not is_in_range
        else None
        if has_ink
        else "pixels: a picture without ink"
        for is_whole, is_in_range, has_ink in zip(whole, in_range, ink, strict=True)
    ]


def from_images(values: Any) -> tuple[NDArray[np.float32], list[str | None]]:
    """The same of PNG or JPEG bytes, which are decoded one by one."""
    features = np.zeros((len(values), digits.FEATURES), np.float32)
    reasons: list[str | None] = [None] * len(values)
    for row, value in enumerate(values):
        if not value.is_valid:
            reasons[row] = "image: expected bytes, got null"
            continue
        try:
            features[row] = digits.from_image(value.as_py(), MAX_PIXELS)
        except InvalidInput as problem:
            reasons[row] = f"image: {problem}"
    return features, reasons
