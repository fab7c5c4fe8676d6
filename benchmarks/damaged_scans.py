"""How many damaged scans are read as pictures: `python -m benchmarks.damaged_scans`

The 450 scans that no model has learned from, and four damaged copies of each, enlarged to 128 x 128 pixels as PNG. What
the everyday reader makes of each is counted, and for how many it is right when it is given the 8x8 cells instead.
"""

import sys
from collections.abc import Iterator

import numpy as np
from rich.console import Console

from benchmarks.support.report import show_table
from common.domain import digits, ink
from common.training.damage import degrade
from common.training.data import Rows, enlarge, held_out, stack
from common.training.measure import DAMAGED_COPIES, LOW_CONFIDENCE_BELOW
from tests.support.inputs.pictures import MAX_PIXELS, encoded, read

COLUMNS = ("scans", "pictures", "refused", "right", "wrong", "wrong with confidence", "right as cells")
SIDE = 128  # pixels


def main() -> None:
    """Read all, and print a table."""
    show_table(COLUMNS, list(rows()), Console(file=sys.stdout, highlight=False))


def rows() -> Iterator[list[str]]:
    """A row for the held-out scans, and one for the damaged copies."""
    scans, rng = held_out(), np.random.default_rng(3)
    damaged = stack(*(Rows(degrade(scans.features, rng), scans.labels) for _ in range(DAMAGED_COPIES)))
    for name, given in (("held-out", scans), ("damaged", damaged)):
        found = [reading(encoded(enlarge(scan, SIDE))) for scan in given.features]
        refused = sum(one is None for one in found)
        wrong = [one[1] for one, label in zip(found, given.labels, strict=True) if one and one[0] != label]
        sure = sum(confidence >= LOW_CONFIDENCE_BELOW for confidence in wrong)
        as_cells = int((read(given.features)[0] == given.labels).sum())
        right = len(found) - refused - len(wrong)
        yield [name, *map(str, (len(found), refused, right, len(wrong), sure, as_cells))]


def reading(picture: bytes) -> tuple[int, float] | None:
    """The digit in a picture and the reader's confidence; None if the picture is refused."""
    try:
        labels, probabilities = read(digits.from_image(picture, MAX_PIXELS)[None])
    except ink.InvalidImage:
        return None
    return int(labels[0]), float(probabilities.max())


if __name__ == "__main__":
    main()
