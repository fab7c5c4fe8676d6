"""Drawings that are no digit, though the domain may take them for one: letters, joined marks, shapes, textures.

Each is the ink of one drawing, 0 to 1. Letters and shapes that look like a digit (O, l, Z, S, b, g, a ring) are left
out.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from common.domain import ink
from common.training.skeletons import SKELETONS
from common.training.strokes import bent_strokes, ink_strokes, scribbles

SIDE = 112  # pixels
MIDDLE = SIDE / 2
SMALL_SIDE = 70  # pixels of a texture: in one so small the domain finds the same ink, ten times as quickly
PRINTED = [*"ACEFHKLMNPRUVWXacdefhkmnprtuvwx&@#%+*"]
DRAWN = [  # skeletons as in `skeletons.py`
    *["09 40 89|26 66", "09 30 50 89|15 75", "71 40 12 04 16 38 59 78", "80 10 19 89|14 64", "80 10 19|14 64"],
    *["81 40 22 44 64|44 16 39 88", "00 90|20 29|24 74", "10 19|80 89|14 84", "10 19|80 15 89", "10 19 79"],
    *["09 10 45 80 99", "09 00 89 80", "00 09 80 89", "19 10 60 82 64 14", "19 10 60 82 64 14 89", "00 49 90"],
    *["00 06 29 69 86 80", "00 29 45 69 90", "00 89|80 09", "00 89|80 09|40 49", "73 42 15 17 39 69 76|72 78 99"],
    *["75 44 16 18 39 69 75|70 79", "15 85 73 42 14 17 39 79", "80 50 32 39|14 64", "00 09|05 33 63 75 79"],
    *["10 19|73 16 79", "12 19|13 52 73 75 56 16", "03 09|04 23 44 49|45 63 84 89", "13 19|15 43 63 85 89"],
    *["13 19|15 33 63 74", "30 38 59 78|13 63", "70 19|13 63", "13 17 39 59 76|73 79", "40 49|05 85", "00 89|45 09"],
    *["20 29|60 69|03 93|06 96", "09 00 80 89", "00 09 99 90|40 49", "40 09 89 40", "40 00 09 89|00 90"],
    *["40 49|10 80|22 05 27 67 85 62 22", "10 80 89 19 10|14 84|40 49"],
]
Ink = NDArray[np.float32]


def printed_letter(rng: np.random.Generator) -> Ink:
    """In Pillow's own typeface, of any size and weight, slanted."""
    font, weight = ImageFont.load_default(int(rng.uniform(0.5, 0.9) * SIDE)), int(rng.integers(0, 5))
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).text((MIDDLE, MIDDLE), str(rng.choice(PRINTED)), 255, font, "mm", stroke_width=weight)
    slant, width = rng.normal(0, 0.15), rng.uniform(1, 1.4)
    matrix = width, slant, MIDDLE * (1 - width - slant), 0, 1, 0
    return _ink(image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))


def drawn_letter(rng: np.random.Generator) -> Ink:
    """By the hands and with the pens that draw the digits."""
    return ink_strokes(bent_strokes(str(rng.choice(DRAWN)), rng), rng)


def joined_marks(rng: np.random.Generator) -> Ink:
    """Two digits or letters that touch."""
    every = [*DRAWN, *(skeleton for skeletons in SKELETONS.values() for skeleton in skeletons)]
    left, right = (bent_strokes(str(skeleton), rng) for skeleton in rng.choice(every, 2))
    width = np.concatenate(left)[:, 0].max() - np.concatenate(right)[:, 0].min()
    shift = np.array([width * rng.uniform(0.7, 1), rng.normal(0, 0.1)])
    return ink_strokes([*left, *(stroke + shift for stroke in right)], rng)


def shape(rng: np.random.Generator) -> Ink:
    """A filled polygon, a star or a triangle, at any angle."""
    filled, corners = rng.random() < 0.5, int(rng.integers(3, 8))
    inner = rng.uniform(0.3, 0.6 if corners > 3 and not filled else 1)  # 1: a polygon, whose outline would be a zero
    angle = np.arange(2 * corners) * np.pi / corners + rng.uniform(0, np.pi)
    radius = rng.uniform(0.25, 0.45, 2) * SIDE * np.tile([[1], [inner]], (corners, 1))
    points = [(x, y) for x, y in MIDDLE + np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius]
    image = Image.new("L", (SIDE, SIDE))
    if filled:
        ImageDraw.Draw(image).polygon(points, 255)
    else:
        ImageDraw.Draw(image).line([*points, *points[:2]], 255, int(rng.integers(4, 14)), "curve")
    return _ink(image)


def scribble(rng: np.random.Generator) -> Ink:
    """A pen that went to and fro."""
    return next(scribbles(1, rng))


def texture(rng: np.random.Generator) -> Ink:
    """A few clouds, dots or squares. Raises `InvalidImage` if the domain finds no ink in them."""
    cells = int(rng.integers(2, 7))
    if rng.random() < 0.5:
        clouds = Image.fromarray(rng.integers(0, 256, (cells, cells), np.uint8))
        return ink.find_ink(clouds.resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.BICUBIC))
    turn = rng.uniform(0, np.pi)
    across, down = np.meshgrid(*rng.uniform(0, np.pi, (2, 1)) + np.linspace(0, cells * np.pi / 2, SMALL_SIDE))
    waves = np.sin(across * np.cos(turn) + down * np.sin(turn)) * np.sin(across * np.sin(turn) - down * np.cos(turn))
    values = waves if rng.random() < 0.5 else np.sign(waves)
    return ink.find_ink(Image.fromarray((128 + 127 * values).astype(np.uint8)))


FOREIGN: dict[str, tuple[Callable[[np.random.Generator], Ink], int]] = {
    "printed_letters": (printed_letter, 2000),
    "drawn_letters": (drawn_letter, 6500),
    "joined_marks": (joined_marks, 1500),
    "shapes": (shape, 4000),
    "scribbles": (scribble, 1500),
    "textures": (texture, 1500),
}
"""How each is drawn, and how many `quality` learns from."""


def _ink(drawing: Image.Image) -> Ink:
    return np.asarray(drawing, np.float32) / np.float32(255)
