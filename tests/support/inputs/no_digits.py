"""Pictures that are no digit: text, noise, two digits and textures, drawn by a program."""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests.support.inputs.drawn_digits import STYLES, draw
from tests.support.inputs.pictures import encoded

WIDTH, HEIGHT = 640, 480  # pixels
WORDS = ["invoice", "street", "Hello", "total", "amount", "THANK", "you", "address", "parcel", "return", "to", "sender"]


def text(rng: np.random.Generator) -> Image.Image:
    """One to eight lines of one to eight words."""
    words, size = int(rng.integers(1, 9)), int(rng.integers(14, 60))
    lines = [" ".join(rng.choice(WORDS, words)) for _ in range(rng.integers(1, 9))]
    image = Image.new("L", (WIDTH, HEIGHT), 255)
    ImageDraw.Draw(image).multiline_text((20, 20), "\n".join(lines), font=ImageFont.load_default(size), fill=0)
    return image


def noise(rng: np.random.Generator) -> Image.Image:
    """Of any strength, fine or coarse."""
    coarse = int(rng.choice([1, 2, 4, 10, 20]))
    values = rng.normal(128, rng.uniform(20, 80), (HEIGHT // coarse, WIDTH // coarse))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)


def two_digits(rng: np.random.Generator) -> Image.Image:
    """Side by side, equally tall."""
    image = Image.new("L", (WIDTH, HEIGHT), 255)
    left = 40
    for digit in rng.integers(0, 10, 2):
        drawing = draw(STYLES[int(digit)][0], rng)
        drawing = drawing.crop(drawing.getbbox())
        drawing = drawing.resize((max(12, min(260, drawing.width * 240 // drawing.height)), 240))
        image.paste(0, (left, 100), drawing)
        left += drawing.width + int(rng.integers(12, 60))
    return image


def two_sizes(rng: np.random.Generator) -> Image.Image:
    """Side by side, one half as tall."""
    return _pair(rng, (180, 240), 240, (420, 240), 120)


def one_above_another(rng: np.random.Generator) -> Image.Image:
    return _pair(rng, (320, 120), 160, (320, 340), 160)


def touching(rng: np.random.Generator) -> Image.Image:
    return _pair(rng, (270, 240), 240, (390, 240), 240)


def _pair(
    rng: np.random.Generator, first: tuple[int, int], height: int, second: tuple[int, int], other_height: int
) -> Image.Image:
    """Two digits around these points, so tall."""
    image = Image.new("L", (WIDTH, HEIGHT), 255)
    for (x, y), tall in ((first, height), (second, other_height)):
        drawing = draw(STYLES[int(rng.integers(0, 10))][0], rng)
        drawing = drawing.crop(drawing.getbbox())
        drawing = drawing.resize((max(12, min(tall, drawing.width * tall // drawing.height)), tall))
        image.paste(0, (x - drawing.width // 2, y - tall // 2), drawing)
    return image


def texture(rng: np.random.Generator) -> Image.Image:
    """Waves, squares or dots, at any angle."""
    across, down = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    turn, wave = rng.uniform(0, np.pi), rng.uniform(16, 120)
    u = (across * np.cos(turn) + down * np.sin(turn)) / wave
    v = (across * np.sin(turn) - down * np.cos(turn)) / wave
    values = (np.sin(u), np.sign(np.sin(u) * np.sin(v)), -((np.sin(u) * np.sin(v)) ** 2))[rng.integers(0, 3)]
    return Image.fromarray((128 + 100 * values).clip(0, 255).astype(np.uint8))


KINDS: dict[str, Callable[[np.random.Generator], Image.Image]] = {
    kind.__name__: kind for kind in (text, noise, two_digits, texture)
}

PAIRS: dict[str, Callable[[np.random.Generator], Image.Image]] = {
    kind.__name__: kind for kind in (two_sizes, one_above_another, touching)
}


def no_digits(kind: str, count: int, seed: int) -> Iterator[bytes]:
    """So many pictures of this kind, as PNG files."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield encoded((KINDS | PAIRS)[kind](rng))
