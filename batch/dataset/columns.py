"""Turns columns of a Parquet file into rows of the domain, a whole batch at a time; rejects rows with a reason.

The columns are named like the fields of the domain's `Input`: numbers, or lists of numbers, as in its example. If the
domain reads images, a column `image` with their bytes is accepted too.
"""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from common import domain
from common.inference.tensor_spec import Tensors
from common.prediction.payload import EXAMPLE_ROWS

ITEMS = f"{domain.Input.__name__.lower()}s"
IMAGE = "image"
LENGTHS = {name: len(value) if isinstance(value, list) else 0 for name, value in domain.EXAMPLE.items()}
"""The length of the lists by column; 0: the column holds numbers."""
_COLUMNS = ", ".join(f"{name} (a list of {size} float32)" if size else name for name, size in LENGTHS.items())
_IMAGES = f", or id and {IMAGE} ({' or '.join(domain.MEDIA_TYPES)} bytes)" if domain.MEDIA_TYPES else ""
EXPECTED = f"expected the columns id and {_COLUMNS}{_IMAGES}"


class Rows(NamedTuple):
    """Inputs and ids of the accepted rows; ids and reasons of the rejected rows."""

    inputs: Tensors
    ids: pa.Array
    rejected_ids: pa.Array
    reasons: list[str]


def input_columns(schema: pa.Schema) -> list[str]:
    """The columns to read beside `id`. Raises ValueError if they are not as expected."""
    names = {*schema.names}
    if "id" in names and {*LENGTHS} <= names:
        for name, size in LENGTHS.items():
            kind = schema.field(name).type
            if not _is_number(kind.value_type if size and _is_list(kind) else kind) or bool(size) != _is_list(kind):
                raise ValueError(f"{EXPECTED}; got {name} as {kind}")
        return [*LENGTHS]
    if "id" in names and IMAGE in names and domain.MEDIA_TYPES:
        kind = schema.field(IMAGE).type
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return [IMAGE]
        raise ValueError(f"{EXPECTED}; got {IMAGE} as {kind}")
    raise ValueError(f"{EXPECTED}; got {', '.join(schema.names) or 'none'}")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


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
    lengths = pc.list_value_length(values)
    if pc.all(pc.equal(lengths, size), skip_nulls=False).as_py() is not False and not values.null_count:
        return _numbers(values.flatten()).reshape(-1, size), None
    whole = np.asarray(pc.fill_null(pc.equal(lengths, size), False))
    table = np.zeros((len(values), size), np.float32)
    table[whole] = _numbers(values.filter(pa.array(whole)).flatten()).reshape(-1, size)
    return table, whole


def _numbers(flat: Any) -> NDArray[np.float32]:
    """As float32, without a copy if they are float32 already; a missing number is NaN."""
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
            for name, row in decode(value.as_py(), settings).items():
                rows[name][place] = row[0]
        except ValueError as error:
            reasons[place] = f"{IMAGE}: {error}"
    return rows, reasons
