"""Uneven light: separates ink from shadows, and a sheet of paper from the desk that it lies on.

Ink is darker (or lighter) than the paper next to it, a shadow than the paper far away. So the brightness of the paper
is estimated at every pixel, by a morphological closing (J. Serra: "Image Analysis and Mathematical Morphology", 1982),
and ink is what differs from it. Pictures are of shape (bands, height, width), float32, 0 to 255.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Bands = NDArray[np.float32]

LEAST_SIDE = 64  # pixels; in a smaller picture strokes are as wide as shadows
PAPER_SIDE = 64  # pixels a side at which the paper is estimated
STROKE = 1 / 4  # of a side: the widest stroke that is not taken for paper
FAINT = 0.2  # of the strongest ink
CERTAIN = 0.35  # of the strongest ink: below this is paper in uneven light
MORE_INK = 1.7  # in uneven light the distance from one paper colour finds so many times the ink, or more
DARKEST = 0.12  # of the range of brightness: pixels that are ink in any light
SHEET_CONTRAST = 60.0  # from the desk to the sheet
LEAST_SHEET = 0.5  # of a side of the picture


def crop_to_sheet(image: Image.Image) -> Image.Image:
    """The bright sheet of paper on a dark desk; the whole picture where there is none."""
    if min(image.size) < LEAST_SIDE:
        return image
    grey = np.asarray(image.convert("L").filter(ImageFilter.BoxBlur(1)), np.float32)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    desk = float(np.median(border))
    if grey.max() - desk < SHEET_CONTRAST:  # the usual picture: a percentile takes longer than all of this
        return image
    paper = float(np.percentile(grey, 95))
    bright = grey > 0.7 * desk + 0.3 * paper
    if paper - desk < SHEET_CONTRAST or (border > 0.7 * desk + 0.3 * paper).mean() > 0.1:
        return image
    rows, columns = np.flatnonzero(bright.mean(axis=1) > 0.5), np.flatnonzero(bright.mean(axis=0) > 0.5)
    if len(rows) < LEAST_SHEET * grey.shape[0] or len(columns) < LEAST_SHEET * grey.shape[1]:
        return image
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    if bright[top:bottom, left:right].mean() < 0.8:  # a bright digit on a dark ground
        return image
    edge = max(2, round(0.01 * max(grey.shape)))
    return image.crop((int(left) + edge, int(top) + edge, int(right) - edge, int(bottom) - edge))


def find_ink_in_uneven_light(bands: Bands, ink: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Ink of shape (height, width), 0 to 1 the strongest, measured from the paper around it; None in even light.

    `ink` is the same measured from one paper colour. In even light, and where strokes are as wide as shadows, `ink` is
    right, and it has more levels of grey.
    """
    if min(ink.shape) < LEAST_SIDE:
        return None
    dark = bands if _is_dark_on_light(bands.mean(axis=0)) else 255 - bands
    paper = np.stack([_estimate_paper(band) for band in dark])
    local = np.clip((paper - dark) / np.maximum(paper, 30), 0, 1).max(axis=0)
    strongest = float(np.percentile(local, 99.5))
    if strongest < FAINT:
        return None
    local = np.clip(local / strongest, 0, 1)
    if (ink > FAINT).sum() < MORE_INK * (local > FAINT).sum():
        return None
    brightness = dark.min(axis=0)
    lowest = float(brightness.min())
    darkest = brightness < lowest + DARKEST * (float(np.percentile(brightness, 98)) - lowest)
    if (local[darkest] > CERTAIN).mean() < 0.9:
        return None
    local[local < CERTAIN] = 0
    found: NDArray[np.float32] = local
    return found


def _is_dark_on_light(grey: NDArray[np.float32], parts: int = 6) -> bool:
    """Most of a part is paper, so its median is nearer to the paper's brightness; parts with contrast count more."""
    height, width = (side // parts for side in grey.shape)
    blocks = grey[: height * parts, : width * parts].reshape(parts, height, parts, width)
    low, middle, high = np.percentile(blocks, [2, 50, 98], axis=(1, 3))
    return bool(((high - low) * (2 * middle - low - high)).sum() >= 0)


def _estimate_paper(band: NDArray[np.float32]) -> NDArray[np.float32]:
    """The brightness of the paper at each pixel of one band, ink being darker."""
    image = Image.fromarray(band.astype(np.uint8))
    small = image.reduce(max(1, max(image.size) // PAPER_SIDE)).filter(ImageFilter.MedianFilter(3))
    size = int(max(small.size) * STROKE) | 1
    closed = _over_squares(np.minimum, _over_squares(np.maximum, np.asarray(small), size), size)
    paper = Image.fromarray(closed).filter(ImageFilter.BoxBlur(1)).resize(image.size, Image.Resampling.BILINEAR)
    return np.asarray(paper, np.float32)


def _over_squares(choose: np.ufunc, values: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The maximum or minimum of the square of `size` (odd) around each pixel, of shape (height, width)."""
    for _ in range(2):  # along the rows, then along the columns
        length, width = len(values), 1
        values = values[np.arange(-(size // 2), length + size // 2).clip(0, length - 1)]  # the edges go on
        while 2 * width <= size:  # a window is covered by two of half its width
            values, width = choose(values[:-width], values[width:]), 2 * width
        values = choose(values[:length], values[size - width :][:length]).T
    return values
