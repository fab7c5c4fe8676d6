"""Rows as bytes, for where they are kept or passed on: one record for each row, its numbers little-endian.

Dtypes and shapes are those of the domain's example. For digits, a record is 64 floats of 32 bits.
"""

from typing import Any

import numpy as np

from common import domain
from common.inference.tensor_spec import Tensors

Rows = Tensors
"""By the name of a model's input, an array whose first axis counts the items."""
EXAMPLE_ROWS: Rows = domain.to_rows([domain.Input.model_validate(domain.EXAMPLE)])


def _layout(rows: Rows) -> np.dtype[Any]:
    """A record's fields, little-endian; ends the process where rows are Python objects, whose bytes are addresses."""
    for name, values in rows.items():
        if values.dtype.hasobject:
            raise SystemExit(
                f"cannot start: the rows of {name} in common/domain/ have the dtype {values.dtype}: "
                "give strings a width, such as '<U20'"
            )
    return np.dtype([(name, value.dtype.newbyteorder("<"), value.shape[1:]) for name, value in rows.items()])


RECORD = _layout(EXAMPLE_ROWS)
"""The layout of a row, input by input."""
ROW_BYTES = RECORD.itemsize


def to_payload(rows: Rows) -> bytes:
    """n rows -> n records, one after another."""
    records = np.empty(count(rows), RECORD)
    for name, value in rows.items():
        records[name] = value
    return records.tobytes()


def to_rows(payload: bytes) -> Rows:
    """The opposite; raises ValueError where the bytes are no whole number of rows."""
    records = np.frombuffer(payload, RECORD)
    return {name: np.ascontiguousarray(records[name]) for name in EXAMPLE_ROWS}


def count(rows: Rows) -> int:
    """How many rows there are."""
    return len(next(iter(rows.values())))
