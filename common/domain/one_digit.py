"""Whether the marks in a picture are one digit: text, two digits, noise and textures are not.

The numbers below lie between those of such pictures and those of digits that people wrote or drew.
"""

import numpy as np
from numpy.typing import NDArray

from common.domain import marks

WIDEST = 1.45  # width of a digit, as a part of its height
STROKES_ACROSS = 2.5  # the mean number of strokes that a row of a digit crosses, and half its width by its height
STROKES_DOWN = 3.4  # the same of a column
FULLEST = 0.8  # of the square around a digit
SIZABLE = 0.4  # of the side: a lesser piece is a part of a digit, or dirt
GAP = 0.04  # of the side: pieces that are nearer may be one broken stroke
SMALL = 0.27  # of the side: a piece of this length that is farther away is another mark
APART = 0.1  # of the side
CELL = 0.2  # the same in a scan of 8x8 cells, enlarged, of which one is missing
EDGE = 0.05  # of the side: the edge of a stroke that a pen drew is narrower, that of an enlarged cell wider
STEEP = 0.75  # of a full pixel: so much changes across the edges that a pen drew
DIRT = 0.65  # of all ink: so much may be beside the largest mark
DIRT_OF_CELLS = 0.75  # the same in a scan of 8x8 cells: one that breaks a stroke leaves much


def what_is_no_digit(ink: NDArray[np.float32], may_be_in_pieces: bool = False) -> str | None:
    """Why ink (without margins, 0 to 1 the strongest) cannot be one digit, in a few words; None if it may be.

    A scan of 8x8 cells, damaged and enlarged, may be in pieces.
    """
    height, width = ink.shape
    small = marks.scale(ink)
    mask = small > marks.INKED
    if width > WIDEST * height:
        return "wider than any digit"
    if mask.sum() > FULLEST * marks.SIDE**2:
        return "more ink than any digit has"
    runs = marks.find_runs(mask)
    if not len(runs.starts):
        return "nothing but specks"
    down = np.count_nonzero(np.diff(mask.astype(np.int8), axis=0, prepend=0) > 0)
    is_soft = steepness(small) < STEEP
    across = len(runs.starts) / mask.any(axis=1).sum() + (0.25 if is_soft else width / height / 2)
    if across > STROKES_ACROSS or down > STROKES_DOWN * mask.any(axis=0).sum():
        return "more strokes than any digit has"
    found = marks.measure(runs)
    if may_be_in_pieces and is_soft:
        return _what_is_beside(found, CELL, DIRT_OF_CELLS)
    if marks.detail(ink) < marks.SHARP:
        return _what_is_beside(found, CELL, DIRT)
    return _what_is_beside(found, GAP, DIRT) or (None if is_soft else _what_is_apart(found))


def steepness(small: NDArray[np.float32]) -> float:
    """How much ink changes across its edges: little in a scan of 8x8 cells, enlarged, however much of it is dirt.

    Of ink with `SIDE` pixels along its longer side.
    """
    step = round(EDGE * marks.SIDE)
    down, across = np.abs(small[step:] - small[:-step]), np.abs(small[:, step:] - small[:, :-step])
    change = np.concatenate([down.ravel(), across.ravel()])
    edges = change[change > 0.1]
    return float(np.percentile(edges, 90)) if edges.size else 0.0


def _what_is_beside(found: marks.Marks, gap: float, dirt: float) -> str | None:
    """Another mark beside or below the largest, as tall as a digit; or many specks."""
    largest = found.area.argmax()
    if found.area[largest] < (1 - dirt) * found.area.sum():
        return "many small marks"
    tall = (found.bottom - found.top >= SIZABLE * marks.SIDE) & (found.area >= 0.3 * found.area[largest])
    return "several marks beside each other" if (tall & (_distance(found) >= gap * marks.SIDE)).any() else None


def _what_is_apart(found: marks.Marks) -> str | None:
    """A smaller digit, farther from the largest mark than a piece of a digit that a pen drew."""
    length = np.maximum(found.bottom - found.top, found.right - found.left)
    apart = (length >= SMALL * marks.SIDE) & (_distance(found) >= APART * marks.SIDE)
    return "several marks of different size" if apart.any() else None


def _distance(found: marks.Marks) -> marks.Counts:
    """How far each mark is from the box around the largest; 0 or less if they overlap."""
    largest = found.area.argmax()
    beside = np.maximum(found.left - found.right[largest], found.left[largest] - found.right)
    below = np.maximum(found.top - found.bottom[largest], found.top[largest] - found.bottom)
    return np.asarray(np.maximum(beside, below))
