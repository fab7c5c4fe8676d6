"""Digits drawn with a mouse on a 280x280 canvas, for tests: skeletons of lines and elliptic arcs.

Written apart from the skeletons that the readers were trained on (those are splines through points), so that reading
these says something about drawings that are in no training set.
"""

import io
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

CANVAS = 280  # pixels
Stroke = NDArray[np.float64]  # shape (n, 2): x and y, in units of the digit's height, y down


def line(*points: float) -> Stroke:
    """Straight pieces through x, y, x, y, ..., with a point every few pixels."""
    corners = np.array(points).reshape(-1, 2)
    pieces = [np.linspace(a, b, 12) for a, b in pairwise(corners)]
    return np.concatenate(pieces)


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> Stroke:
    """Part of an ellipse round (x, y), angles in degrees, clockwise from three o'clock."""
    angle = np.radians(np.linspace(start, end, 30))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def join(*pieces: Stroke) -> Stroke:
    """One stroke of several pieces, the pen kept down."""
    return np.concatenate(pieces)


STYLES: dict[int, list[list[Stroke]]] = {
    0: [
        [arc(0.35, 0.5, 0.35, 0.5, -90, 270)],
        [arc(0.22, 0.5, 0.22, 0.5, -60, 310)],
        [arc(0.45, 0.5, 0.45, 0.5, -100, 240)],
    ],
    1: [
        [line(0, 0, 0, 1)],
        [line(0, 0.25, 0.25, 0, 0.25, 1)],
        [line(0.05, 0.2, 0.28, 0, 0.28, 1), line(0, 1, 0.55, 1)],
        [line(0, 0.35, 0.35, 0, 0.35, 1)],
        [line(0.1, 0, 0, 1)],
    ],
    2: [
        [join(arc(0.3, 0.3, 0.3, 0.3, -170, 40), line(0.53, 0.5, 0, 1, 0.65, 1))],
        [join(arc(0.32, 0.28, 0.3, 0.28, -150, 60), arc(0.12, 0.86, 0.12, 0.12, 0, -270), line(0.12, 0.98, 0.66, 0.9))],
        [line(0, 0.1, 0.3, 0, 0.6, 0.2, 0.5, 0.5, 0, 1, 0.65, 1)],
        [join(arc(0.28, 0.25, 0.3, 0.25, -180, 50), arc(0.6, 1, 0.6, 0.5, -120, -180), line(0, 1, 0.6, 1))],
    ],
    3: [
        [join(arc(0.25, 0.25, 0.3, 0.25, -150, 90), arc(0.25, 0.75, 0.35, 0.25, -90, 150))],
        [line(0, 0, 0.6, 0, 0.25, 0.4), arc(0.25, 0.7, 0.35, 0.3, -90, 150)],
        [line(0.05, 0, 0.55, 0.1, 0.5, 0.35, 0.2, 0.48, 0.6, 0.6, 0.55, 0.9, 0, 1)],
        [join(arc(0.25, 0.24, 0.25, 0.24, -160, 100), arc(0.2, 0.74, 0.3, 0.26, -80, 160))],
    ],
    4: [
        [line(0.45, 0, 0, 0.65, 0.7, 0.65), line(0.5, 0.35, 0.5, 1)],
        [line(0.45, 1, 0.45, 0, 0, 0.7, 0.65, 0.7)],
        [line(0.05, 0, 0.02, 0.5, 0.6, 0.5), line(0.55, 0, 0.55, 1)],
        [join(line(0.05, 0, 0.05, 0.3), arc(0.3, 0.3, 0.25, 0.22, 180, 20)), line(0.55, 0, 0.52, 1)],
        [line(0.2, 0, 0, 0.6, 0.6, 0.55), line(0.42, 0.3, 0.36, 1)],
    ],
    5: [
        [line(0.6, 0, 0.1, 0, 0.07, 0.42), arc(0.25, 0.7, 0.35, 0.3, -125, 140)],
        [join(line(0.12, 0, 0.08, 0.45), arc(0.25, 0.68, 0.33, 0.32, -120, 150)), line(0.1, 0, 0.6, 0.02)],
        [line(0.6, 0, 0.05, 0, 0.02, 0.42, 0.4, 0.4, 0.6, 0.6, 0.5, 0.92, 0, 1)],
        [join(arc(0.4, 0.24, 0.3, 0.24, -60, -220), arc(0.3, 0.72, 0.32, 0.28, -100, 140))],
    ],
    6: [
        [join(arc(0.55, 0.65, 0.55, 0.65, -100, -180), arc(0.3, 0.7, 0.3, 0.3, -180, -540))],
        [join(line(0.4, 0, 0.02, 0.6), arc(0.3, 0.72, 0.3, 0.28, -160, -520))],
        [join(line(0, 0, 0, 0.7), arc(0.28, 0.72, 0.28, 0.28, 180, -180))],
        [line(0.45, 0, 0.1, 0.4, 0, 0.8, 0.25, 1, 0.55, 0.8, 0.35, 0.55, 0.05, 0.7)],
    ],
    7: [
        [line(0, 0, 0.6, 0, 0.2, 1)],
        [line(0, 0, 0.6, 0, 0.25, 1), line(0.15, 0.5, 0.6, 0.5)],
        [join(line(0, 0.03, 0.6, 0), arc(0.9, 1, 0.6, 0.9, -125, -178))],
        [line(0, 0.15, 0.02, 0, 0.6, 0.02, 0.35, 1)],
        [line(0, 0.05, 0.55, 0, 0.3, 0.5, 0.2, 1), line(0.05, 0.55, 0.5, 0.45)],
    ],
    8: [
        [arc(0.3, 0.24, 0.24, 0.24, 90, 450), arc(0.3, 0.74, 0.3, 0.26, -90, 270)],
        [join(arc(0.3, 0.25, 0.25, 0.25, -20, -270), arc(0.3, 0.75, 0.3, 0.25, -90, 180), line(0, 0.75, 0.53, 0.2))],
        [join(arc(0.28, 0.25, 0.25, 0.25, 90, -270), arc(0.28, 0.75, 0.25, 0.25, -90, 270))],
        [line(0.5, 0.1, 0.2, 0, 0.05, 0.2, 0.5, 0.7, 0.4, 0.97, 0.1, 0.95, 0.05, 0.7, 0.5, 0.25, 0.5, 0.1)],
    ],
    9: [
        [join(arc(0.3, 0.28, 0.3, 0.28, 0, -360), line(0.6, 0.28, 0.55, 1))],
        [join(arc(0.28, 0.27, 0.28, 0.27, -10, -370), arc(0, 0.4, 0.56, 0.6, -10, 80))],
        [join(arc(0.3, 0.3, 0.3, 0.3, -20, -380), line(0.58, 0.3, 0.3, 1))],
        [line(0.5, 0.05, 0.15, 0, 0, 0.25, 0.2, 0.45, 0.5, 0.3, 0.5, 0.05, 0.5, 0.6, 0.4, 1)],
        [join(arc(0.28, 0.27, 0.27, 0.27, -30, -350), line(0.56, 0.1, 0.56, 0.75), arc(0.3, 0.76, 0.26, 0.24, 0, 150))],
    ],
}


def digits(each: int, seed: int) -> Iterator[tuple[int, Image.Image]]:
    """`each` drawings of every digit: (digit, white-on-black `L` picture of 280x280), styles in turn."""
    rng = np.random.default_rng(seed)
    for digit, styles in STYLES.items():
        for number in range(each):
            yield digit, draw(styles[number % len(styles)], rng)


def draw(strokes: list[Stroke], rng: np.random.Generator) -> Image.Image:
    """Draws strokes 60 to 250 pixels tall with a pen of 8 to 30 pixels: slanted, trembling, anywhere on the canvas."""
    height = rng.uniform(60, 250)
    pen = rng.uniform(8, min(30, max(10, height / 4)))  # a thicker pen in a small digit leaves only a blot
    slant = np.tan(np.radians(rng.uniform(-20, 20)))
    affine = height * np.array([[rng.uniform(0.75, 1.3), 0], [slant, 1]])
    placed = [stroke @ affine + _tremor(len(stroke), height * 0.012, rng) for stroke in strokes]
    points = np.concatenate(placed)
    span = np.ptp(points, axis=0)
    placed = [stroke * min(1, (CANVAS - pen - 2) / span.max()) for stroke in placed]
    points = np.concatenate(placed)
    room = CANVAS - pen - np.ptp(points, axis=0)
    corner = pen / 2 + rng.uniform(0, 1, 2) * room - points.min(axis=0)
    return _inked([stroke + corner for stroke in placed], pen, antialias=bool(rng.random() < 0.5))


def _tremor(length: int, size: float, rng: np.random.Generator) -> Stroke:
    """A hand's slow wobble: noise smoothed over seven points."""
    noise = rng.normal(0, size * 7**0.5, (length + 6, 2))
    return np.stack([np.convolve(noise[:, axis], np.full(7, 1 / 7), "valid") for axis in (0, 1)], axis=1)


def _inked(strokes: list[Stroke], pen: float, antialias: bool) -> Image.Image:
    scale = 4 if antialias else 1
    image = Image.new("L", (CANVAS * scale, CANVAS * scale))
    canvas = ImageDraw.Draw(image)
    radius = pen * scale / 2
    for stroke in strokes:
        canvas.line([(x, y) for x, y in stroke * scale], fill=255, width=round(pen * scale))
        for x, y in stroke * scale:
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return image.resize((CANVAS, CANVAS), Image.Resampling.BOX)


def png(image: Image.Image) -> bytes:
    """The picture as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
