"""Paper: its brightness at every pixel. What differs from it is ink, or a shadow.

The brightness is estimated by a morphological closing (J. Serra: "Image Analysis and Mathematical Morphology", 1982).
Pictures are of shape (bands, height, width), float32, 0 to 255. One band, made smaller, is of shape (height, width),
uint8, with ink darker than paper.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bands = NDArray[np.float32]
Grey = NDArray[np.uint8]
Ink = NDArray[np.float32]

LOGARITHM = (255 * np.log1p(np.arange(256) / 20) / np.log1p(12.75)).astype(np.uint8)
"""Of a brightness: light multiplies it, so the difference of two logarithms is the same in a shadow."""
SIDE = 128  # pixels a side, up to twice as many, at which the paper is estimated
FAINT = 0.2  # of the strongest ink; less may be paper
EVEN = 16  # of 255 in logarithms: so much the brightness of paper in even light differs
WIDEST_STROKE = 1 / 4  # of a side of the picture


def is_dark_on_light(grey: NDArray[np.float32], parts: int = 6) -> bool:
    """Most of a part is paper, so its median is nearer to the paper's brightness; parts with contrast count more."""
    height, width = (side // parts for side in grey.shape)
    blocks = grey[: height * parts, : width * parts].reshape(parts, height, parts, width)
    low, middle, high = np.percentile(blocks, [2, 50, 98], axis=(1, 3))
    return bool(((high - low) * (2 * middle - low - high)).sum() >= 0)


def reduce(bands: Bands, dark_on_light: bool) -> Grey:
    """One band, smaller, with ink darker than paper: the darkest of each square, which thin strokes survive."""
    values = (bands.min(axis=0) if dark_on_light else 255 - bands.max(axis=0)).astype(np.uint8)
    factor = max(1, max(values.shape) // SIDE)
    height, width = (side // factor for side in values.shape)
    squares = values[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return np.asarray(squares.min(axis=(1, 3)))


def to_logarithm(brightness: Grey, dark_on_light: bool) -> Grey:
    """The logarithm of the brightness that was there before it was inverted for light ink."""
    return np.asarray(LOGARITHM[brightness] if dark_on_light else 255 - LOGARITHM[255 - brightness])


def edge(values: NDArray[Any]) -> NDArray[Any]:
    """The pixels along the border, those at the corners twice."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def darker(grey: Grey, window: float) -> Ink:
    """How much darker each pixel is than the paper around it."""
    return (_close(grey, int(max(grey.shape) * window) | 1) - grey).astype(np.float32)


def has_even_paper(grey: Grey) -> bool:
    """Whether light falls evenly on it."""
    low, high = np.percentile(_close(grey, int(max(grey.shape) * WIDEST_STROKE) | 1), [5, 95])
    return bool(high - low < EVEN)


def _close(values: Grey, size: int) -> Grey:
    """The brightness of the paper at each pixel, ink being darker."""
    return over_squares(np.minimum, over_squares(np.maximum, values, size), size)


def over_squares(choose: np.ufunc, values: Grey, size: int) -> Grey:
    """The maximum or minimum of the square of `size` (odd) around each pixel, of shape (height, width)."""
    for _ in range(2):  # along the rows, then along the columns
        length, width = len(values), 1
        values = values[np.arange(-(size // 2), length + size // 2).clip(0, length - 1)]  # the edges go on
        while 2 * width <= size:  # a window is covered by two of half its width
            values, width = choose(values[:-width], values[width:]), 2 * width
        values = choose(values[:length], values[size - width :][:length]).T
    return values
