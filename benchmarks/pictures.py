"""What it costs to read the ink of a picture, by format and size: `python -m benchmarks.pictures`

Photographs of one digit in a shadow, decoded and read as for a request, one after another in one thread.
"""

import os
import sys
from collections.abc import Iterator
from functools import partial
from io import BytesIO

from PIL import Image
from rich.console import Console

from benchmarks.support.machine import part_cpus
from benchmarks.support.report import show_table
from benchmarks.support.stopwatch import alone
from common import domain
from tests.support.inputs.photographs import photographs
from tests.support.inputs.pictures import encoded

COLUMNS = ("format", "pixels", "megapixels", "MB", "CPU ms")
SIDES = {
    "PNG": [(280, 280), (1200, 900), (2048, 2048)],
    "WebP": [(1200, 900), (2048, 2048)],
    "JPEG": [(1200, 900), (4032, 3024), (5664, 4248), (8000, 6000)],
    "progressive JPEG": [(1200, 900), (4000, 3000)],
}
"""Up to the largest that are read with the default of MAX_PIXELS."""


def main() -> None:
    """Measure on the server's CPU, and print a table."""
    os.sched_setaffinity(0, part_cpus().server)
    console = Console(file=sys.stdout, highlight=False)
    show_table(COLUMNS, list(rows()), console)


def rows() -> Iterator[list[str]]:
    """A row for each format and size."""
    ((_, photo), *_) = photographs("shadow", each=1, seed=1)
    picture, settings = Image.open(BytesIO(photo)), domain.Settings()
    for name, sides in SIDES.items():
        kind = name.rpartition(" ")[2]
        read = domain.MEDIA_TYPES[f"image/{kind.lower()}"]
        options = {"progressive": True} if kind != name else {}
        for width, height in sides:
            data = encoded(picture.resize((width, height)).convert("RGB"), kind, **options)
            seconds = alone(name, partial(read, data, settings)).seconds
            size = [f"{width} x {height}", f"{width * height / 1e6:.1f}", f"{len(data) / 1e6:.1f}"]
            yield [name, *size, f"{seconds * 1e3:.1f}"]


if __name__ == "__main__":
    main()
