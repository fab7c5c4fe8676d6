"""Turns columns of a Parquet file into rows of the domain, a whole batch at a time; rejects rows with a reason.

The columns are named like the fields of the domain's `Input`: numbers, booleans, or lists of them, as in its example.
If the domain reads images, a column `image` with their bytes is accepted too.
"""

import base64
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batch.dataset.column_types import IMAGE, LENGTHS, to_plain, to_plain_id
from common import domain
from common.inference.tensor_spec import Tensors
from common.prediction.payload import EXAMPLE_ROWS


class Rows(NamedTuple):
    """Inputs and ids of the accepted rows; ids and reasons of the rejected rows."""

    inputs: Tensors
    ids: pa.Array
    rejected_ids: pa.Array
    reasons: list[str]


def read_batches(
    source: pq.ParquetFile, row_groups: Sequence[int], columns: dict[str, str], batch_rows: int
) -> Iterator[Rows]:
    """The rows of these row groups, some at a time; `columns` are those of `input_columns`."""
    names = [*columns.values()]
    for batch in source.iter_batches(batch_rows, list(row_groups), columns=names, use_threads=False):
        plain = [to_plain_id(batch.column(columns["id"]))]
        plain += [to_plain(batch.column(name)) for column, name in columns.items() if column != "id"]
        yield read_rows(pa.RecordBatch.from_arrays(plain, [*columns]), [name for name in columns if name != "id"])


def read_rows(batch: pa.RecordBatch, columns: list[str]) -> Rows:
    """The rows of a batch with the columns `id` and `columns`."""
    ids = batch.column("id")
    if columns == [IMAGE]:
        inputs, reasons = from_images(batch.column(IMAGE))
    else:
        inputs, reasons = from_fields({name: batch.column(name) for name in columns})
    if not any(reasons):
        return Rows(inputs, ids, ids.slice(0, 0), [])
    accepted = np.array([reason is None for reason in reasons])
    mask = pa.array(accepted)
    accepted_inputs = {name: values[accepted] for name, values in inputs.items()}
    return Rows(
        accepted_inputs, ids.filter(mask), ids.filter(pc.invert(mask)), [reason for reason in reasons if reason]
    )


def from_fields(columns: dict[str, Any]) -> tuple[Tensors, list[str | None]]:
    """Rows, and for each the reason to reject it, or None; no reasons at all if every row is accepted.

    The values of a rejected row are undefined.
    """
    arrays: dict[str, NDArray[np.float32]] = {}
    wrong_length: dict[str, NDArray[np.bool_]] = {}
    for name, values in columns.items():
        arrays[name], has_length = _table(values, LENGTHS[name]) if LENGTHS[name] else (_numbers(values), None)
        if has_length is not None:
            wrong_length[name] = ~has_length
    rows, reasons = domain.from_columns(arrays)
    for name, rejected in wrong_length.items():
        text = f"{name}: expected {LENGTHS[name]} numbers"
        reasons = [
            text if has_wrong_length else reason
            for has_wrong_length, reason in zip(rejected, reasons or [None] * len(rejected), strict=True)
        ]
    return rows, reasons


def _table(values: Any, size: int) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Lists of `size` numbers -> shape (n, size), and which lists have that length (None: all)."""
    has_length = pc.fill_null(pc.equal(pc.list_value_length(values), size), False)
    if pc.all(has_length, min_count=0).as_py():
        return _numbers(values.flatten()).reshape(-1, size), None
    mask = np.asarray(has_length)
    table = np.zeros((len(values), size), np.float32)
    table[mask] = _numbers(values.filter(has_length).flatten()).reshape(-1, size)
    return table, mask


def _numbers(flat: Any) -> NDArray[np.float32]:
    """As float32, without a copy if they are float32 already; a boolean is 0 or 1, and what is missing is NaN."""
    if flat.null_count or flat.type != pa.float32():
        flat = pc.fill_null(flat.cast(pa.float32(), safe=False), float("nan"))
    numbers: NDArray[np.float32] = flat.to_numpy(zero_copy_only=False)
    return numbers


def from_images(values: Any) -> tuple[Tensors, list[str | None]]:
    """As `from_fields`, for images, which are decoded one by one."""
    settings, decode = domain.Settings(), next(iter(domain.MEDIA_TYPES.values()))
    rows = {name: np.zeros((len(values), *row.shape[1:]), row.dtype) for name, row in EXAMPLE_ROWS.items()}
    reasons: list[str | None] = [None] * len(values)
    for place, value in enumerate(values):
        if not value.is_valid:
            reasons[place] = f"{IMAGE}: expected bytes, got null"
            continue
        try:
            found = value.as_py()
            for name, row in decode(_from_text(found) if isinstance(found, str) else found, settings).items():
                rows[name][place] = row[0]
        except ValueError as error:
            reasons[place] = f"{IMAGE}: {error}"
    return rows, reasons


def _from_text(text: str) -> bytes:
    """The bytes of base64, or of a data URI of it."""
    data = text.partition(",")[2] if text[:5].lower() == "data:" else text
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except ValueError:
        raise ValueError(f"expected base64, or a data URI of it, got {text[:20]!r}") from None
