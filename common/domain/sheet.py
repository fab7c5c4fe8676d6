"""A sheet of paper on a dark desk: light on dark like chalk on a board, with the digit as a hole in it."""

import numpy as np

from common.domain import marks
from common.domain.paper import FAINT, WIDEST_STROKE, Bands, Grey, Ink, darker, edge, over_squares, reduce, to_logarithm

LEAST_SHEET = 0.5  # of a side of the picture
AT_EDGE = 0.2  # of the edge of the picture: a pattern of bright and dark parts reaches more of it
DESK = 0.5  # of the edge is darker than paper: the sheet lies on a desk
FULL = 0.95  # of a pixel of the reduced picture is ink
WIDEST = 0.27  # of the longer side: no digit that a pen drew holds a square of ink that is wider


def is_sheet(bands: Bands, ink: Ink) -> bool:
    """Whether the ink is a sheet on a dark desk, in which the digit is a hole."""
    bright = ink > FAINT
    if bright.mean() < LEAST_SHEET**2 or edge(bright).mean() > AT_EDGE:
        return False  # a stroke, however broad, or a pattern
    grey = bands.mean(axis=0)
    if grey[bright].mean() <= np.median(edge(grey)):
        return False  # a shadow
    if not _is_solid(marks.crop(np.where(bright, ink, np.float32(0)))):
        return False
    brightness = reduce(bands, True)
    is_sharp = marks.detail(brightness.astype(np.float32)) > marks.SHARP
    return is_sharp and has_sharp_strokes(to_logarithm(brightness, True))


def find_sheet(bands: Bands) -> Grey | None:
    """The sheet, if it lies on a desk, of which a part at least is darker."""
    return _crop(to_logarithm(reduce(bands, True), True))


def has_sharp_strokes(grey: Grey) -> bool:
    """Whether a pen drew what is darker than the paper around it, and not a scanner of 8x8 cells."""
    local = darker(grey, WIDEST_STROKE)
    strokes = np.where(local > marks.INKED * float(np.percentile(local, 99.9)), local, np.float32(0))
    return bool(strokes.any()) and marks.detail(marks.crop(strokes)) > marks.SHARP


def _is_solid(digit: Ink) -> bool:
    """Whether it is somewhere wider than the strokes of a digit, both ways."""
    full = np.pad(marks.scale((digit > FAINT).astype(np.float32)) > FULL, 1).astype(np.uint8)
    solid = over_squares(np.minimum, full, int(WIDEST * marks.SIDE) | 1)
    return bool(solid.any())


def _crop(grey: Grey) -> Grey | None:
    """The sheet of paper on a dark desk, from which the sides that are mostly desk are cut away; None without one."""
    ink = darker(grey, WIDEST_STROKE)
    desk = ink > 0.5 * float(np.percentile(ink, 99.9))
    if edge(desk).mean() < DESK:
        return None
    top, left, (bottom, right) = 0, 0, desk.shape
    while min(bottom - top, right - left) > LEAST_SHEET * min(desk.shape):
        part = desk[top:bottom, left:right]
        sides = [part[0].mean(), part[-1].mean(), part[:, 0].mean(), part[:, -1].mean()]
        worst = int(np.argmax(sides))
        if sides[worst] < 0.2:
            return grey[top + 1 : bottom - 1, left + 1 : right - 1] if part.mean() < 0.3 else None
        top, bottom, left, right = top + (worst == 0), bottom - (worst == 1), left + (worst == 2), right - (worst == 3)
    return None
