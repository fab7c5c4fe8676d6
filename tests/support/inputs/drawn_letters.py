"""Letters drawn with a mouse, for tests: none that looks like a digit, and in shapes that training has not seen."""

from collections.abc import Iterator

import numpy as np

from tests.support.inputs.drawn_digits import Stroke, arc, draw, join, line, png

LETTERS: dict[str, list[Stroke]] = {
    "A": [line(0, 1, 0.35, 0, 0.7, 1), line(0.15, 0.6, 0.55, 0.6)],
    "C": [arc(0.4, 0.5, 0.4, 0.5, -50, -310)],
    "E": [line(0.5, 0, 0, 0, 0, 1, 0.5, 1), line(0, 0.5, 0.4, 0.5)],
    "F": [line(0.55, 0, 0, 0, 0, 1), line(0, 0.5, 0.45, 0.5)],
    "H": [line(0, 0, 0, 1), line(0.6, 0, 0.6, 1), line(0, 0.5, 0.6, 0.5)],
    "K": [line(0, 0, 0, 1), line(0.55, 0, 0, 0.55, 0.6, 1)],
    "L": [line(0, 0, 0, 1, 0.55, 1)],
    "M": [line(0, 1, 0, 0, 0.4, 0.6, 0.8, 0, 0.8, 1)],
    "N": [line(0, 1, 0, 0, 0.6, 1, 0.6, 0)],
    "P": [line(0, 1, 0, 0), arc(0.1, 0.27, 0.45, 0.27, -90, 90)],
    "R": [join(line(0, 1, 0, 0), arc(0.1, 0.25, 0.4, 0.25, -90, 90), line(0.1, 0.5, 0.55, 1))],
    "U": [join(line(0, 0, 0, 0.7), arc(0.3, 0.7, 0.3, 0.3, 180, 0), line(0.6, 0.7, 0.6, 0))],
    "V": [line(0, 0, 0.35, 1, 0.7, 0)],
    "W": [line(0, 0, 0.2, 1, 0.45, 0.3, 0.7, 1, 0.9, 0)],
    "X": [line(0, 0, 0.65, 1), line(0.65, 0, 0, 1)],
    "a": [join(arc(0.35, 0.5, 0.35, 0.5, -20, -380), line(0.7, 0, 0.7, 1))],
    "d": [join(arc(0.3, 0.7, 0.3, 0.3, -20, -380), line(0.6, 0.5, 0.6, 0, 0.6, 1))],
    "e": [join(line(0.05, 0.5, 0.75, 0.5), arc(0.4, 0.5, 0.38, 0.5, 0, -310))],
    "h": [line(0, 0, 0, 1), join(arc(0.27, 0.7, 0.27, 0.25, 180, 360), line(0.54, 0.7, 0.54, 1))],
    "k": [line(0, 0, 0, 1), line(0.45, 0.4, 0, 0.7, 0.5, 1)],
    "m": [line(0, 0.1, 0, 1), line(0, 0.3, 0.2, 0.1, 0.4, 0.3, 0.4, 1), line(0.4, 0.3, 0.6, 0.1, 0.8, 0.3, 0.8, 1)],
    "n": [line(0, 0.1, 0, 1), join(arc(0.3, 0.35, 0.3, 0.35, 180, 360), line(0.6, 0.35, 0.6, 1))],
    "p": [line(0, 0, 0, 1), arc(0.25, 0.3, 0.28, 0.28, -180, 180)],
    "r": [line(0, 0, 0, 1), arc(0.35, 0.4, 0.35, 0.38, 180, 320)],
    "t": [join(line(0.25, 0, 0.25, 0.8), arc(0.45, 0.8, 0.2, 0.2, 180, 50)), line(0, 0.3, 0.5, 0.3)],
}


def letters(count: int, seed: int) -> Iterator[bytes]:
    """So many letters in turn, white on black, as PNG files."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        yield png(draw([*LETTERS.values()][number % len(LETTERS)], rng))
