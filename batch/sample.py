"""A data set to try the pattern with: days of scans, made of the sample pictures, each fainter or smeared a little.

`python -m batch.sample DIR`; its last day is yesterday. One scan of each day is blank, and so no picture. The scans
are the same whenever they are made.
"""

import argparse
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from common import domain
from common.service.process.folders import require_writable

PICTURES = ("zero", "two", "four", "seven")
FULL_CELL = 16.0
ROW_GROUP = 10_000


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m batch.sample", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, default=3, help="partitions date=YYYY-MM-DD (default: 3)")
    parser.add_argument("--rows", type=int, default=20_000, help="scans of each (default: 20000)")
    options = parser.parse_args()
    require_writable(options.folder, "name another folder")
    today = datetime.now(UTC).date()
    for number in range(options.days):
        day = today - timedelta(days=options.days - number)
        write_day(options.folder / f"date={day}", day, scans(options.rows, np.random.default_rng(number)))
    print(f"{options.folder}: {options.days} days of {options.rows:,} scans")


def write_day(folder: Path, day: date, pixels: NDArray[np.float32]) -> None:
    """One partition, whose last scan is blank."""
    pixels[-1:] = 0
    flat = pa.array(pixels.reshape(-1))
    columns = {
        "id": [f"{day}-{number:07d}" for number in range(len(pixels))],
        "pixels": pa.FixedSizeListArray.from_arrays(flat, pixels.shape[1]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "scans.parquet", row_group_size=ROW_GROUP)


def scans(rows: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Shape (rows, 64)."""
    samples = Path(__file__).parent.parent / "common" / "samples"
    read, settings = domain.MEDIA_TYPES["image/png"], domain.Settings()
    rows_read = [read((samples / f"{name}.png").read_bytes(), settings) for name in PICTURES]
    pictures = np.concatenate([next(iter(row.values())) for row in rows_read])
    found = pictures.astype(np.float32)[random.integers(len(pictures), size=rows)]
    found *= random.uniform(0.8, 1.0, (rows, 1))
    found += random.normal(0, 0.7, found.shape) * (found > 0)
    return np.clip(np.rint(found), 0, FULL_CELL).astype(np.float32)


if __name__ == "__main__":
    main()
