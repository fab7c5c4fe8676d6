"""Digits as people draw them with a mouse: the skeletons, bent, slanted and inked with pens of all widths."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from common.training.skeletons import SKELETONS

CANVAS = 112  # pixels
MARGIN = 2  # pixels
Stroke = NDArray[np.float64]  # shape (n, 2): x and y, y down


def drawn_digits(labels: NDArray[np.int64], rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """A drawing of each digit: ink of shape (112, 112), 0 to 1."""
    for digit in labels:
        yield ink_strokes(bent_strokes(str(rng.choice(SKELETONS[int(digit)])), rng), rng)


def scribbles(count: int, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """`count` drawings of a pen that went to and fro: ink of shape (112, 112), 0 to 1."""
    for _ in range(count):
        yield ink_strokes([_smooth(rng.random((rng.integers(8, 20), 2)))], rng)


def bent_strokes(skeleton: str, rng: np.random.Generator) -> list[Stroke]:
    """The strokes of a skeleton as another hand draws them, in about a unit square."""
    return _bend(_strokes(skeleton, rng), rng)


def _strokes(skeleton: str, rng: np.random.Generator) -> list[Stroke]:
    """The strokes of a skeleton in a unit square, their points a little off, as curves or as polylines."""
    curved = rng.random() < 0.7
    points_of_all = skeleton.replace("|", " ").split()
    offset = {point: rng.normal(0, 0.04, 2) for point in points_of_all}  # joined strokes stay joined
    strokes = []
    for stroke in skeleton.split("|"):
        points = np.array([np.array([int(xy[0]), int(xy[1])]) / 9 + offset[xy] for xy in stroke.split()])
        strokes.append(_smooth(points) if curved else points)
    return strokes


def _smooth(points: Stroke, steps: int = 6) -> Stroke:
    """A Catmull-Rom spline through the points, shape (n, 2)."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    before, start, end, after = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    t = np.linspace(0, 1, steps)[:, None]
    curve = 2 * start + (end - before) * t + (2 * before - 5 * start + 4 * end - after) * t**2
    curve = curve + (3 * start - before - 3 * end + after) * t**3
    return np.asarray(curve / 2).reshape(-1, 2)


def _bend(strokes: list[Stroke], rng: np.random.Generator) -> list[Stroke]:
    """Another hand: middle higher or lower, narrower or wider, slanted, rotated."""
    power = rng.uniform(0.75, 1.3, 2)
    width = rng.uniform(0.4, 1.0)
    slant = np.tan(np.radians(rng.uniform(-24, 24)))
    turn = np.radians(rng.normal(0, 5))
    affine = np.array([[width, 0], [-slant, 1]]) @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    return [np.clip(stroke, 0, 1.1) ** power @ affine for stroke in strokes]


def ink_strokes(strokes: list[Stroke], rng: np.random.Generator) -> NDArray[np.float32]:
    """Inks strokes with a round pen of 3 to 34 % of the height: shape (112, 112), 0 to 1."""
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    pen = float(rng.uniform(0.03**0.5, 0.34**0.5) ** 2) * (CANVAS - 32)
    scale = (CANVAS - pen - 2 * MARGIN) / max(high - low)
    image = Image.new("L", (CANVAS, CANVAS))
    canvas = ImageDraw.Draw(image)
    for stroke in strokes:
        line = (stroke - low) * scale + pen / 2 + MARGIN
        canvas.line([tuple(point) for point in line], fill=255, width=round(pen))
        for x, y in line:
            canvas.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=255)
    return np.asarray(image, dtype=np.float32) / np.float32(255)
