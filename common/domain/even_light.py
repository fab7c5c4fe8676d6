"""Even light: whether the distance from one paper colour is the ink already, so that no shadow must be looked for."""

import numpy as np

from common.domain import marks, one_digit
from common.domain.paper import FAINT, Bands, Ink, edge

BESIDE = 0.004  # of all ink: so much faint ink may lie beside a digit in even light
OUTLINE = 2  # pixels: so wide is the blurred outline of a digit
SPREAD = 0.12  # of the strongest ink: the edge differs by more only in uneven light
FULL = 0.7  # of the box around a digit: more ink may be a shadow or a sheet
STRONG = 0.76  # the mean of a digit's ink in even light; a shadow around it is fainter
NARROW = 0.5  # of the box's longer side: a stroke, which fills a narrower box, is judged in one of this width


def is_in_even_light(bands: Bands, ink: Ink) -> bool:
    """Whether the ink is a digit whose strokes reach no edge, as in even light on clean paper."""
    mask = ink > FAINT
    if edge(mask).any():
        return False
    low, high = np.percentile(edge(bands[0]), [3, 97])
    if high - low > SPREAD * np.ptp(bands[0]):
        return False
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    digit = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    around = max(digit.size, NARROW * max(digit.shape) ** 2)
    inked = digit[digit > FAINT]
    is_clean = _ink_beside(ink) <= BESIDE and float(inked.mean()) >= STRONG  # else a line, a fold, a stain or a shadow
    if not is_clean and marks.detail(digit) > marks.SHARP:
        return False
    return inked.size < FULL * around and one_digit.what_is_no_digit(digit) is None


def _ink_beside(ink: Ink) -> float:
    """The share of all ink that is outside the box around what is not faint."""
    mask = ink > marks.INKED
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = max(0, rows[0] - OUTLINE), max(0, columns[0] - OUTLINE)
    return 1 - float(ink[top : rows[-1] + OUTLINE + 1, left : columns[-1] + OUTLINE + 1].sum() / ink.sum())
