"""Data sets for the batch pattern: folders of Parquet files of real digits, the same for the same arguments."""

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.datasets import load_digits


@cache
def real_digits() -> NDArray[np.float32]:
    """The scans that scikit-learn has, 64 numbers each."""
    return np.asarray(load_digits().data, np.float32)


def write_data(
    folder: Path, rows: int, *, files: int = 1, row_group: int = 1_000, first_id: int = 0, seconds: float | None = None
) -> Path:
    """Files with so many rows in all, whose ids go on from one to the next; the scans begin again when all are used.

    `seconds`: how long the slow reader of tests/support/service_process.py takes for a batch of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(np.array_split(np.arange(first_id, first_id + rows), files)):
        pixels = real_digits()[part % len(real_digits())]
        if seconds is not None:
            pixels[:, 0] = seconds
        lists = pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel(), pa.float32()), 64)
        table = pa.table({"id": pa.array(part), "pixels": lists})
        pq.write_table(table, folder / f"{number:04d}.parquet", row_group_size=row_group)
    return folder


def write_damaged(file: Path) -> Path:
    """A file that looks like Parquet by its name only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"PAR1, but no more")
    return file
