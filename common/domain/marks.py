"""Marks: the connected pieces of ink in a picture, how large they are, and how sharp.

Masks are of shape (height, width), bool; lengths are in pixels.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]  # shape (n,), one for each mark

SIDE = 64  # pixels to which ink is scaled before it is judged
INKED = 0.35  # of a full pixel: above this it belongs to a mark
SHARP = 0.12  # `detail` of strokes that a pen drew; scans of 8x8 cells have less


class Marks(NamedTuple):
    """The bounds of each mark, right and bottom excluded, and how many pixels it has."""

    area: Counts
    left: Counts
    top: Counts
    right: Counts
    bottom: Counts


class Runs(NamedTuple):
    """The pieces of rows that are ink: where each starts and ends in the mask with a column added, and its mark."""

    starts: Counts
    ends: Counts
    mark: Counts
    width: int


def find_runs(mask: Mask) -> Runs:
    """The runs of a mask, those that touch, diagonally too, with the same mark: 0, 1, 2, ..."""
    height, width = mask.shape[0], mask.shape[1] + 1  # a column without ink, so that no run goes on in the next row
    flat = np.zeros(height * width + 1, np.int8)
    flat[:-1].reshape(height, width)[:, :-1] = mask
    change = np.diff(flat, prepend=0)
    starts, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    first = np.searchsorted(ends, starts + width)  # the first run of the next row that touches
    touching = np.maximum(np.searchsorted(starts, ends + width, "right") - first, 0)
    upper = np.repeat(np.arange(len(starts)), touching)
    lower = np.arange(len(upper)) - np.repeat(touching.cumsum() - touching - first, touching)
    return Runs(starts, ends, np.unique(_join(len(starts), upper, lower), return_inverse=True)[1], width)


def _join(count: int, one: Counts, other: Counts) -> Counts:
    """For each of so many runs the lowest of those that it is joined with, pair by pair (Shiloach, Vishkin 1982)."""
    root = np.arange(count)
    while (root[one] != root[other]).any():
        np.minimum.at(root, np.maximum(root[one], root[other]), np.minimum(root[one], root[other]))
        while ((above := root[root]) != root).any():
            root = above
    return root


def measure(runs: Runs) -> Marks:
    """The size of each mark."""
    starts, ends, mark, width = runs
    count = int(mark.max(initial=-1)) + 1
    row, column = starts // width, starts % width
    least, most = np.full((2, count), np.iinfo(np.int64).max), np.zeros((2, count), np.int64)
    for lowest, highest, low, high in zip(least, most, (column, row), (column + ends - starts, row + 1), strict=True):
        np.minimum.at(lowest, mark, low)
        np.maximum.at(highest, mark, high)
    return Marks(np.bincount(mark, ends - starts, count).astype(np.int64), least[0], least[1], most[0], most[1])


def paint(runs: Runs, chosen: Mask, shape: tuple[int, int]) -> Mask:
    """A mask of this shape with the chosen marks (shape (n,)) only."""
    change = np.zeros(shape[0] * runs.width + 1, np.int8)
    kept = chosen[runs.mark]
    change[runs.starts[kept]], change[runs.ends[kept]] = 1, -1
    return change[:-1].cumsum(dtype=np.int8).reshape(shape[0], runs.width)[:, :-1] > 0


def sums(runs: Runs, values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The sum of these values over each mark, shape (n,)."""
    padded = np.append(np.pad(values, ((0, 0), (0, 1))).ravel(), np.float32(0)).cumsum(dtype=np.float64)
    ends = padded[runs.ends - 1] - padded[runs.starts - 1] * (runs.starts > 0)
    return np.asarray(np.bincount(runs.mark, ends, int(runs.mark.max()) + 1), np.float64)


def crop(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without margins."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def scale(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same with `SIDE` pixels along the longer side."""
    height, width = (max(1, round(side * SIDE / max(ink.shape))) for side in ink.shape)
    return np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.BOX))


def detail(picture: NDArray[np.float32]) -> float:
    """How much of the contrast 16x16 cells do not show: little in a scan of 8x8 cells, enlarged."""
    image = Image.fromarray(picture)
    cells = image.resize((16, 16), Image.Resampling.BOX)
    lost = min(
        float(np.abs(np.asarray(cells.resize(image.size, resample)) - picture).mean())
        for resample in (Image.Resampling.BICUBIC, Image.Resampling.NEAREST)
    )
    return lost / max(1e-6, float(np.abs(picture - picture.mean()).mean()))
