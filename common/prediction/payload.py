"""Rows as bytes, for where they are stored or passed on: one item after another, laid out as the domain's `ROW`."""

import numpy as np
from numpy.typing import NDArray

from common.domain import ROW

ROW_BYTES = ROW.itemsize


def to_payload(rows: NDArray[np.void]) -> bytes:
    """n rows -> n times `ROW_BYTES` bytes."""
    return rows.tobytes()


def from_payload(payload: bytes) -> NDArray[np.void]:
    """The opposite; raises ValueError where the bytes are no whole number of rows."""
    return np.frombuffer(payload, ROW)
