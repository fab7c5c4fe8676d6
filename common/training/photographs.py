"""Photographs of drawn digits on paper, in five lights: good ones, and two unreadable kinds.

A photograph is grey, of shape (240, 240), 0 to 255; it is returned as the ink that the domain finds in it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from common.domain import ink
from common.training.strokes import drawn_digits

SIDE = 240  # pixels: the domain reduces larger photographs to about this
PAPER = 235.0  # its brightness
Pixels = NDArray[np.floating[Any]]
Change = Callable[[Pixels, np.random.Generator], Pixels]
ACROSS, DOWN = np.meshgrid(np.linspace(-0.5, 0.5, SIDE), np.linspace(-0.5, 0.5, SIDE))


def photograph(rng: np.random.Generator, damage: Change | None = None) -> NDArray[np.float32]:
    """The ink of any digit on a sheet that is damaged, lit and photographed. Raises `InvalidImage` if none is found."""
    sheet = _sheet(rng) if damage is None else damage(_sheet(rng), rng)
    lit = LIGHTS[rng.integers(len(LIGHTS))](sheet, rng)
    photo = lit + rng.normal(0, rng.uniform(0.5, 4), lit.shape)
    return ink.find_ink(Image.fromarray(photo.clip(0, 255).astype(np.uint8)))


def even(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """An overcast day."""
    return sheet


def gradient(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """A window at one side."""
    return np.asarray(sheet * np.clip(0.8 + rng.uniform(0.2, 0.6) * _distance(rng, 0), 0.4, 1))


def lamp(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """Bright around one point."""
    x, y = rng.uniform(-0.4, 0.4, 2)
    return np.asarray(sheet * (0.4 + 0.6 * np.exp(-rng.uniform(1, 3) * ((ACROSS - x) ** 2 + (DOWN - y) ** 2))))


def shadow(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """The shadow of a hand or a head, with a soft edge, over a part of the sheet."""
    inside = 1 / (1 + np.exp(-_distance(rng, 0.2) / rng.uniform(0.01, 0.06)))
    return np.asarray(sheet * (1 - rng.uniform(0.2, 0.5) * inside))


def desk(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """The sheet on a dark desk, near a window."""
    left, right, top, bottom = 0.5 - rng.uniform(0.03, 0.1, 4)
    on_sheet = (-left < ACROSS) & (right > ACROSS) & (-top < DOWN) & (bottom > DOWN)
    return gradient(np.where(on_sheet, sheet, rng.uniform(30, 90)), rng)


LIGHTS: tuple[Change, ...] = (even, gradient, lamp, shadow, desk)


def blur(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """So far out of focus that the strokes run together."""
    blurred = Image.fromarray(sheet.astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 0.2) * SIDE))
    return np.asarray(blurred, np.float64)


def half_covered(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """Another sheet lies over a half of the digit."""
    turns = int(rng.integers(4))
    turned = np.rot90(sheet, turns).copy()
    rows = np.flatnonzero((turned < PAPER).any(axis=1))
    turned[: (rows[0] + rows[-1]) // 2] = PAPER
    return np.rot90(turned, -turns)


DAMAGE: dict[str, Change] = {"unfocused": blur, "half_covered": half_covered}


def _sheet(rng: np.random.Generator) -> Pixels:
    """A drawing of any digit and size, somewhere on white paper."""
    (drawing,) = drawn_digits(rng.integers(0, 10, 1), rng)
    size = int(rng.uniform(0.35, 0.65) * SIDE)
    left, top = (int(share * (SIDE - size)) for share in rng.uniform(0.15, 0.85, 2))
    drawn = Image.fromarray((255 * drawing).astype(np.uint8)).resize((size, size))
    sheet = np.full((SIDE, SIDE), PAPER)
    sheet[top : top + size, left : left + size] -= rng.uniform(0.5, 0.85) * np.asarray(drawn, np.float64)
    return sheet


def _distance(rng: np.random.Generator, spread: float) -> Pixels:
    """From a line at any angle that passes the middle within `spread`."""
    turn = rng.uniform(0, 2 * np.pi)
    return np.asarray(ACROSS * np.cos(turn) + DOWN * np.sin(turn) - rng.uniform(-spread, spread))
