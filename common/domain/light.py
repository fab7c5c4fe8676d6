"""Uneven light: separates ink from shadows.

Ink is darker (or lighter) than the paper next to it, a shadow than the paper far away. So ink is what differs from the
brightness of the paper that is estimated at each pixel (`paper.py`). The estimate follows the edge of a shadow that is
wider than its window, however hard. What is left of a narrower shadow reaches the edge of the picture, or is fainter
than ink. So several windows and thresholds are tried; the one that leaves the least beside a digit is taken.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from common.domain import marks, one_digit
from common.domain.even_light import is_in_even_light
from common.domain.paper import (
    FAINT,
    WIDEST_STROKE,
    Bands,
    Grey,
    Ink,
    darker,
    edge,
    has_even_paper,
    is_dark_on_light,
    reduce,
    to_logarithm,
)
from common.domain.sheet import DESK, find_sheet, has_sharp_strokes, is_sheet

Mask = NDArray[np.bool_]

LEAST_SIDE = 72  # pixels; in a smaller picture strokes are as wide as shadows
WINDOWS = WIDEST_STROKE, 1 / 8, 1 / 14  # of a side: wider strokes are taken for paper, narrower shadows for ink
THRESHOLDS = 0.35, 0.5, 0.65  # of the strongest ink: below is paper, or a shadow
DIRT = 0.04  # of the largest mark: lesser ones are dust, or grain
LEAST_DIGIT = 0.05  # of the picture's longer side
LEAST_CLEAN = 0.25  # so much of the ink, at least
CLEAN = 0.97  # of the ink belongs to the digit
SOLID = 0.8  # the mean of a digit's ink; a shadow that joins it is fainter
LEAST_INK = 20.0  # of 255 in logarithms
DARKEST = 0.12  # of the range of brightness: pixels that are ink in any light
DARKEST_FOUND = 0.7  # of them: a digit without them is a part of one that reaches the edge
DETAIL = 0.3  # of the contrast: a scan of 8x8 cells, enlarged, has less of what 16x16 cells do not show
CELLS = 0.05  # the same of square cells: 16x16 show them
LARGER = 1.15  # times as long
MORE_INK = 4  # in uneven light the distance from one paper colour finds so many times the ink, or more


def find_ink_in_uneven_light(bands: Bands, ink: Ink) -> Ink | None:
    """Ink of shape (height, width), smaller, 0 to 1 the strongest, from the paper around it; 0 if none is found.

    `ink` is the same measured from one paper colour; None where this is right, as in even light.
    """
    if min(ink.shape) < LEAST_SIDE:
        return None
    on_desk = is_sheet(bands, ink)
    if not on_desk and is_in_even_light(bands, ink):
        return None
    sheet = find_sheet(bands)
    if sheet is not None and (digit := _find_cleanest(_candidates(sheet), None, on_desk)[0]) is not None:
        return digit
    best, most = None, 0.0
    is_safe = any(has_even_paper(to_logarithm(reduce(bands, polarity), polarity)) for polarity in (True, False))
    for polarity in (True,) if is_dark_on_light(bands.mean(axis=0)) else (False, True):
        brightness = reduce(bands, polarity)
        grey = to_logarithm(brightness, polarity)
        is_soft = _is_soft(grey)
        windows = WINDOWS[:1] if is_soft else WINDOWS  # cells are as wide as the others
        is_safe = is_safe or is_soft
        has_desk = on_desk and polarity
        darkest = _find_darkest(brightness, has_desk)
        if _is_small_scan(ink, brightness, grey):  # its strokes reach the edge, unless all is clean at once
            digit, score = _find_cleanest(islice(_candidates(grey), 1), darkest)
            return digit if score > CLEAN * SOLID else None
        digit, score = _find_cleanest(_candidates(grey, windows), darkest, has_desk)
        if score > most:
            best, most = digit, score
        if most > CLEAN * SOLID:
            break
    return best if best is not None or is_safe else np.zeros_like(ink)


def _candidates(grey: Grey, windows: Sequence[float] = WINDOWS) -> Iterator[Ink]:
    """Ink by each window and each threshold, the most careful first."""
    for window in windows:
        ink = darker(grey, window)
        strongest = float(np.percentile(ink, 99.9))
        if strongest < LEAST_INK:
            return
        for threshold in THRESHOLDS:
            yield np.where(ink > threshold * strongest, np.minimum(ink / strongest, 1), np.float32(0))


def _is_small_scan(ink: Ink, brightness: Grey, grey: Grey) -> bool:
    """Whether this is a scan of few cells, enlarged, whose strokes are as wide as shadows and may reach the edge."""
    local = darker(grey, WIDEST_STROKE)
    if marks.detail(local) > DETAIL:
        return False
    if marks.detail(brightness.astype(np.float32)) > marks.SHARP and has_sharp_strokes(grey):
        return False  # beside a shadow that is as dark
    local_share = (local > FAINT * float(np.percentile(local, 99.9))).mean()
    return bool((ink > FAINT).mean() < MORE_INK * local_share) and one_digit.what_is_no_digit(marks.crop(ink)) is None


def _is_soft(grey: Grey) -> bool:
    """Whether all edges are as soft as those of a scan of few cells, enlarged, or those of its square cells."""
    local = darker(grey, WIDEST_STROKE)
    small = marks.scale(local / max(1, float(local.max())))
    return marks.detail(local) < CELLS or one_digit.steepness(small) < one_digit.STEEP


def _find_cleanest(candidates: Iterable[Ink], darkest: Mask | None, has_desk: bool = False) -> tuple[Ink | None, float]:
    """The first clean digit, else the cleanest; it has most of the `darkest`. None, 0 if there is none.

    A larger one that is as clean is the whole of a digit of which the first is the part in a shadow.
    """
    best, most, length = None, LEAST_CLEAN, 0.0
    for candidate in candidates:
        found, score = _find_digit(candidate, has_desk)
        if score <= min(most, CLEAN * SOLID) or (
            darkest is not None and found[darkest].astype(bool).mean() <= DARKEST_FOUND
        ):
            continue
        side = max(marks.crop(found).shape)
        if most <= CLEAN * SOLID or side > LARGER * length:
            best, most, length = found, score, side
    return best, 0.0 if best is None else most


def _find_darkest(brightness: Grey, has_desk: bool) -> Mask | None:
    """What is ink in any light, but for the desk around a sheet; None if there is nothing else."""
    lowest = int(brightness.min())
    darkest = np.asarray(brightness <= lowest + DARKEST * (float(np.percentile(brightness, 98)) - lowest))
    if has_desk and edge(darkest).mean() > DESK:
        runs = marks.find_runs(darkest)
        darkest = marks.paint(runs, _is_inside(marks.measure(runs), darkest.shape), darkest.shape)
    return darkest if darkest.any() else None


def _is_inside(sizes: marks.Marks, shape: tuple[int, int]) -> Mask:
    """Which marks reach no edge."""
    return (sizes.left > 0) & (sizes.top > 0) & (sizes.right < shape[1]) & (sizes.bottom < shape[0])


def _find_digit(ink: Ink, has_desk: bool) -> tuple[Ink, float]:
    """The ink of the marks that reach no edge, and how clean it is: 0 no digit, 1 nothing else."""
    runs = marks.find_runs(ink > 0)
    sizes = marks.measure(runs)
    inside = _is_inside(sizes, ink.shape)
    if not inside.any():
        return ink, 0
    all_ink = sizes.area[inside].sum() if has_desk else sizes.area.sum()  # the desk reaches the edge
    main = np.argmax(sizes.area * inside)
    strength = marks.sums(runs, ink) / sizes.area
    inside &= (sizes.area > DIRT * sizes.area[main]) & (strength > 0.7 * strength[main])
    digit = ink * marks.paint(runs, inside, ink.shape)
    cropped = marks.crop(digit)
    if max(cropped.shape) < LEAST_DIGIT * max(ink.shape) or one_digit.what_is_no_digit(cropped) is not None:
        return ink, 0
    kept = sizes.area[inside].sum()
    return digit, float(kept / all_ink * min(1, digit.sum() / kept / SOLID) * SOLID)
