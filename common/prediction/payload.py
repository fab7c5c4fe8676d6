"""Rows as bytes, for where they are kept or passed on: one record for each row, its numbers little-endian.

Dtypes and shapes are those of the domain's example. Of digits, a record is 64 floats of 32 bits.
"""

import numpy as np

from common import domain
from common.inference.tensor_spec import Tensors

Rows = Tensors
"""By the name of a model's input, an array whose first axis counts the items."""
EXAMPLE_ROWS: Rows = domain.to_rows([domain.Input.model_validate(domain.EXAMPLE)])
RECORD = np.dtype([(name, value.dtype.newbyteorder("<"), value.shape[1:]) for name, value in EXAMPLE_ROWS.items()])
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
