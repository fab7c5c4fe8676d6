"""Photographs of drawn digits, made by a program: a sheet of paper in even or uneven light, and the sensor's noise."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tests.support.inputs.drawn_digits import digits
from tests.support.inputs.pictures import encoded

SIDE = 900  # pixels
NOISE = 4.0  # standard deviation of a pixel, of 255
Pixels = NDArray[Any]
ACROSS, DOWN = np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, SIDE))


def even(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    return sheet


def gradient(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """A window at one side."""
    turn = rng.uniform(0, 2 * np.pi)
    return np.asarray(
        sheet * np.clip(0.75 + 0.6 * ((ACROSS - 0.5) * np.cos(turn) + (DOWN - 0.5) * np.sin(turn)), 0.35, 1)
    )


def lamp(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """Bright round one point."""
    x, y = rng.uniform(0.2, 0.8, 2)
    return np.asarray(sheet * (0.4 + 0.6 * np.exp(-((ACROSS - x) ** 2 + (DOWN - y) ** 2) / 0.4)))


def shadow(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """Of a hand or a head, with a soft edge, over a part of the sheet."""
    return sheet * (1 - 0.4 / (1 + np.exp(-(ACROSS - rng.uniform(0.35, 0.65)) / 0.035)))


def chalk(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """Light on dark."""
    return gradient((255 - sheet) * 0.7 + 40, rng)


def desk(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """The sheet on a dark desk, in light that comes from one side."""
    left, right, top, bottom = rng.uniform(0.03, 0.12, 4)
    on_sheet = (left < ACROSS) & (1 - right > ACROSS) & (top < DOWN) & (1 - bottom > DOWN)
    return np.where(on_sheet, sheet, rng.uniform(40, 90)) * (0.6 + 0.4 * ACROSS)


def hard_shadow(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """Of a cupboard, with a hard edge at any angle."""
    return np.asarray(sheet * (1 - rng.uniform(0.3, 0.6) * (_distance(rng) > 0)))


def stripe(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """The shadow of a window bar, across the whole sheet."""
    return np.asarray(sheet * (1 - rng.uniform(0.3, 0.6) * (np.abs(_distance(rng)) < rng.uniform(0.02, 0.1))))


def hand(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """A round shadow inside the picture, its edge soft or hard."""
    x, y = rng.uniform(0.2, 0.8, 2)
    width, height = rng.uniform(0.15, 0.35, 2)
    outside = ((ACROSS - x) / width) ** 2 + ((DOWN - y) / height) ** 2
    return np.asarray(sheet * (1 - rng.uniform(0.25, 0.6) * np.exp(-(outside ** rng.uniform(1, 12)))))


def crossing_shadows(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """Two hard ones at any angles."""
    return hard_shadow(hard_shadow(sheet, rng), rng)


def turned_sheet(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """Askew on a dark desk, half in a hard shadow."""
    turn = rng.uniform(-0.1, 0.1)
    across, down = ACROSS - 0.5 - turn * (DOWN - 0.5), DOWN - 0.5 + turn * (ACROSS - 0.5)
    on_sheet = np.maximum(np.abs(across), np.abs(down)) < rng.uniform(0.4, 0.46)
    return hard_shadow(np.where(on_sheet, sheet, rng.uniform(40, 90)), rng)


def shadow_on_desk(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """A shadow makes a part of the sheet as dark as the desk that it lies on."""
    left, right, top, bottom = rng.uniform(0.03, 0.12, 4)
    on_sheet = (left < ACROSS) & (1 - right > ACROSS) & (top < DOWN) & (1 - bottom > DOWN)
    return np.where(on_sheet, shadow(gradient(sheet, rng), rng), rng.uniform(40, 90))


def askew(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """A turned sheet on a dark desk, in even light."""
    turn = rng.uniform(-0.25, 0.25)
    across, down = ACROSS - 0.5 - turn * (DOWN - 0.5), DOWN - 0.5 + turn * (ACROSS - 0.5)
    return np.where((np.abs(across) < 0.42) & (np.abs(down) < 0.4), sheet, rng.uniform(40, 90))


def fold(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """The shadow of a fold across the sheet: faint, and as narrow as a stroke."""
    return np.asarray(sheet * (1 - rng.uniform(0.1, 0.2) * np.exp(-((_distance(rng) / rng.uniform(0.01, 0.03)) ** 2))))


def ruled(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """On paper with faint lines."""
    is_line = (np.arange(SIDE) + rng.integers(60)) % rng.integers(60, 110) < rng.integers(3, 8)
    return np.where(is_line[:, None], np.minimum(sheet, 235 - rng.uniform(20, 45)), sheet)


def _distance(rng: np.random.Generator) -> Pixels:
    """From a line near the middle of the picture."""
    turn = rng.uniform(0, 2 * np.pi)
    x, y = rng.uniform(0.35, 0.65, 2)
    return np.asarray((ACROSS - x) * np.cos(turn) + (DOWN - y) * np.sin(turn))


LIGHTS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    light.__name__: light
    for light in (
        *(even, gradient, lamp, shadow, chalk, desk, hard_shadow, stripe, turned_sheet, hand, crossing_shadows),
        *(shadow_on_desk, askew, fold, ruled),
    )
}


def photographs(light: str, each: int, seed: int, size: int = 560, **options: Any) -> Iterator[tuple[int, bytes]]:
    """So many photographs of each digit, as JPEG files; options are those of the encoder.

    Less than half the size is drawn with a thin pen.
    """
    rng = np.random.default_rng(seed)
    for digit, drawing in digits(each, seed):
        mask = Image.new("L", (SIDE, SIDE))
        drawn = drawing.convert("L").resize((size, size))
        thin = drawn.filter(ImageFilter.MinFilter(5)) if size < 280 else drawn
        mask.paste(thin, tuple(rng.integers(SIDE // 2 - size // 2 - 30, SIDE // 2 - size // 2 + 30, 2).tolist()))
        sheet = 235 - 0.8 * np.asarray(mask, float)
        photo = LIGHTS[light](sheet, rng) + rng.normal(0, NOISE, sheet.shape)
        yield digit, encoded(Image.fromarray(np.clip(photo, 0, 255).astype(np.uint8)), "JPEG", quality=85, **options)
