"""Pictures in: PNG and JPEG of every kind are read, however they were scanned or drawn."""

import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from common.domain import digits, ink
from common.training.data import enlarge, held_out
from common.training.measure import runner
from tests.support.inputs import drawn_digits as strokes
from tests.support.inputs.photographs import LIGHTS, photographs
from tests.support.inputs.pictures import COMMON, INVERTED, MAX_PIXELS, SEVEN_IMAGE, digit_of, encoded, read
from tests.support.processes import ROOT

full = pytest.mark.full
QUICK = "shadow", "stripe"
DEFAULT_MAX_PIXELS = digits.Settings().max_pixels


def on_canvas(scan: NDArray[np.float32], canvas: int, side: int, x: int, y: int) -> Image.Image:
    image = Image.new("L", (canvas, canvas), 255)
    image.paste(enlarge(scan, side), (x, y))
    return image


VARIANTS: dict[str, Callable[[NDArray[np.float32]], bytes]] = {
    "png": lambda scan: encoded(enlarge(scan, 200)),
    "png of square cells": lambda scan: encoded(enlarge(scan, 64, Image.Resampling.NEAREST)),
    "jpeg": lambda scan: encoded(enlarge(scan, 200), "JPEG"),
    "webp": lambda scan: encoded(enlarge(scan, 200), "WEBP"),
    "coarse jpeg": lambda scan: encoded(enlarge(scan, 100), "JPEG", quality=30),
    "inverted": lambda scan: encoded(Image.eval(enlarge(scan, 128), lambda value: 255 - value)),
    "shifted to a corner": lambda scan: encoded(on_canvas(scan, 200, 100, 0, 0)),
    "wide margins": lambda scan: encoded(on_canvas(scan, 640, 64, 300, 500)),
    "tiny": lambda scan: encoded(enlarge(scan, 16)),
    "as small as the scan": lambda scan: encoded(enlarge(scan, 8)),
    "large": lambda scan: encoded(enlarge(scan, 640, Image.Resampling.NEAREST)),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_of_100_held_out_scans_as_pictures_95_are_read(variant: str) -> None:
    features, labels = held_out()
    right = [digit_of(VARIANTS[variant](scan)) == label for scan, label in zip(features[:100], labels, strict=False)]
    assert sum(right) >= 95


@full
def test_digits_drawn_with_a_mouse_are_read() -> None:
    drawings = [(digit, digit_of(strokes.png(image))) for digit, image in strokes.digits(each=40, seed=1)]
    right = np.array([digit == reading for digit, reading in drawings]).reshape(10, 40).mean(axis=1)
    assert right.mean() >= 0.95
    assert right.min() >= 0.85, dict(enumerate(right))


@pytest.mark.parametrize("light", [name if name in QUICK else pytest.param(name, marks=full) for name in LIGHTS])
def test_of_100_photographs_in_any_light_95_are_read_and_at_most_1_surely_wrong(light: str) -> None:
    counts = Counter(outcome(digit, photo) for digit, photo in photographs(light, each=10, seed=5))
    assert counts["right"] >= 95, counts
    assert counts["surely wrong"] <= 1, counts


@pytest.mark.parametrize("light", ["gradient", "desk", "shadow", "hand"])
def test_of_50_small_digits_of_a_thin_pen_at_most_2_are_read_wrongly_with_confidence(light: str) -> None:
    counts = Counter(outcome(digit, photo) for digit, photo in photographs(light, each=5, seed=6, size=230))
    assert counts["right"] >= 45, counts
    assert counts["surely wrong"] <= 2, counts


def outcome(digit: int, picture: bytes) -> str:
    """What comes of a picture of this digit."""
    try:
        readings, probabilities = read(digits.from_image(picture, MAX_PIXELS)[None])
    except ink.InvalidImage:
        return "refused"
    return "right" if readings[0] == digit else "surely wrong" if probabilities.max() >= 0.9 else "wrong"


def test_blot_of_chalk_on_a_board_is_not_taken_for_a_sheet_on_a_desk() -> None:
    """So the ink of white on black is that of black on white."""
    twos = [drawing.convert("L") for digit, drawing in strokes.digits(each=10, seed=1) if digit == 2]
    for drawing in twos:
        blot = drawing.copy()
        left, top, _, bottom = drawing.getbbox() or (0, 0, 0, 0)
        side = (bottom - top) // 3
        ImageDraw.Draw(blot).ellipse((left, bottom - side, left + side, bottom), 255)
        black_on_white = Image.eval(blot, lambda value: 255 - value)
        white, black = (digits.from_image(encoded(image), MAX_PIXELS) for image in (blot, black_on_white))
        assert np.array_equal(white, black)


@pytest.mark.parametrize(("width", "height"), [(1200, 900), (900, 1200)], ids=["wide", "tall"])
def test_sheet_that_is_no_square_is_not_taken_for_a_digit_on_a_dark_desk(width: int, height: int) -> None:
    wrong = []
    for digit, drawing in strokes.digits(each=2, seed=2):
        photo = Image.new("L", (width, height), 60)
        photo.paste(235, (80, 80, width - 80, height - 80))
        photo.paste(45, ((width - 480) // 2, (height - 480) // 2), drawing.convert("L").resize((480, 480)))
        if digit_of(encoded(photo, "JPEG")) != digit:
            wrong.append(digit)
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize(
    ("side", "options"),
    [((4032, 3024), {}), ((4000, 3000), {"progressive": True}), pytest.param((8000, 6000), {}, marks=full)],
    ids=["12 megapixels", "12 megapixels, progressive", "48 megapixels"],
)
def test_photographs_of_phones_are_read(side: tuple[int, int], options: dict[str, object]) -> None:
    ((_, photo), *_) = photographs("shadow", each=1, seed=1)
    large = encoded(Image.open(BytesIO(photo)).resize(side), "JPEG", **options)
    assert read(digits.from_image(large, DEFAULT_MAX_PIXELS)[None])[0] == digit_of(photo)


@pytest.mark.parametrize(
    ("kind", "side", "options"),
    [("JPEG", (8000, 6400), {}), ("JPEG", (4200, 3100), {"progressive": True}), ("PNG", (2100, 2100), {})],
)
def test_larger_pictures_are_a_413_that_says_how_large_they_may_be(
    kind: str, side: tuple[int, int], options: dict[str, object]
) -> None:
    with pytest.raises(ink.InvalidImage, match=r"expected at most \d+ pixels, got") as caught:
        digits.from_image(encoded(Image.new("L", side), kind, **options), DEFAULT_MAX_PIXELS)
    assert caught.value.status == 413


@pytest.mark.parametrize(("mode", "side"), [("RGB", (3000, 2900)), ("CMYK", (2600, 2500))])
def test_progressive_jpeg_of_more_colour_may_have_fewer_pixels(mode: str, side: tuple[int, int]) -> None:
    """Its memory counts, and that is of all its bands."""
    large = encoded(Image.new(mode, side), "JPEG", progressive=True, subsampling=0)
    with pytest.raises(ink.InvalidImage, match=r"pixels, got \d+ x \d+ of a progressive JPEG") as caught:
        digits.from_image(large, DEFAULT_MAX_PIXELS)
    assert caught.value.status == 413


def test_jpeg_with_a_scan_for_each_band_is_kept_as_a_progressive_one_is() -> None:
    grey = encoded(Image.new("L", (4200, 3100), 200), "JPEG")
    frame, scan = grey.index(b"\xff\xc0"), grey.index(b"\xff\xda")
    bands = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    scans = [grey[scan : scan + 5] + bytes([number]) + grey[scan + 6 : -2] for number in (1, 2, 3)]
    head = grey[:frame] + b"\xff\xc0\0\x11" + grey[frame + 4 : frame + 9] + b"\x03" + bands + grey[frame + 13 : scan]
    with pytest.raises(ink.InvalidImage, match="got 4200 x 3100 of a JPEG of several scans") as caught:
        digits.from_image(b"".join([head, *scans, grey[-2:]]), DEFAULT_MAX_PIXELS)
    assert caught.value.status == 413


@full
@pytest.mark.parametrize("size", [(65_500, 511), (511, 65_500), (65_500, 190)])
def test_long_strip_is_not_decoded_at_its_full_size(size: tuple[int, int]) -> None:
    assert max(ink.decode(encoded(Image.new("RGB", size), "JPEG"), DEFAULT_MAX_PIXELS).size) < 512
    assert kib_to_decode(encoded(Image.new("RGB", size), "JPEG")) < 64 * 1024


def kib_to_decode(jpeg: bytes) -> int:
    """How much memory that takes, in a process of its own."""
    code = """
import re, sys
from pathlib import Path
from common.domain import digits, ink
def kib(name):
    return int(re.search(rf"{name}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
picture = sys.stdin.buffer.read()
before = kib("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
ink.decode(picture, digits.Settings().max_pixels)
print(kib("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, input=jpeg, capture_output=True, check=True)
    return int(done.stdout)


@pytest.mark.parametrize("name", ["zero", "two", "four", "seven"])
def test_sample_is_read(name: str) -> None:
    labels, probabilities = read(digits.from_image((COMMON / "samples" / f"{name}.png").read_bytes(), MAX_PIXELS)[None])
    assert labels[0] == {"zero": 0, "two": 2, "four": 4, "seven": 7}[name]
    assert probabilities.max() > 0.95


def test_smudge_is_illegible_and_seven_is_not() -> None:
    legible = runner((COMMON / "models" / "quality.onnx").read_bytes())
    pictures = [
        digits.from_image((COMMON / "samples" / f"{name}.png").read_bytes(), MAX_PIXELS) for name in ("smudge", "seven")
    ]
    assert legible(np.stack(pictures))[0].tolist() == [0, 1]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_png_of_every_mode_is_read(mode: str) -> None:
    image = (
        SEVEN_IMAGE.convert(mode) if mode != "I;16" else Image.fromarray(np.asarray(SEVEN_IMAGE, dtype=np.uint16) * 257)
    )
    assert image.mode == mode
    assert digit_of(encoded(image)) == 7


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_fewer_bits_in_a_png_of_16_are_read(bits: int) -> None:
    values = np.asarray(SEVEN_IMAGE, dtype=np.uint16) * 2 ** (bits - 8)
    assert digit_of(encoded(Image.fromarray(values))) == 7


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize(("kind", "bands"), [(2, 3), (4, 2), (6, 4)], ids=["RGB", "grey and alpha", "RGBA"])
def test_fewer_bits_in_a_png_of_16_a_colour_are_read(bits: int, kind: int, bands: int) -> None:
    values = np.asarray(SEVEN_IMAGE, dtype=np.uint16)[..., None].repeat(bands, axis=2) * 2 ** (bits - 8)
    if kind != 2:
        values[..., -1] = 2**bits - 1
    assert digit_of(png_of_16_bits(values, kind)) == 7


def png_of_16_bits(values: NDArray[np.uint16], kind: int) -> bytes:
    """A PNG of a kind that Pillow writes with 8 bits only: `kind` is the colour type of its header."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("colour", ["black", "white", "red", "grey", "yellow"])
def test_ink_of_any_colour_on_a_transparent_canvas_is_read(colour: str) -> None:
    canvas = Image.new("RGBA", SEVEN_IMAGE.size, colour)
    canvas.putalpha(INVERTED)
    assert digit_of(encoded(canvas)) == 7


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_every_mode_is_read(mode: str) -> None:
    assert digit_of(encoded(SEVEN_IMAGE.convert(mode), "JPEG")) == 7


def test_photo_is_turned_upright_by_its_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn 90 degrees clockwise to see it"
    assert digit_of(encoded(SEVEN_IMAGE.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)) == 7


def test_grain_of_the_paper_is_no_ink() -> None:
    grain = np.random.default_rng(0).normal(0, 8, SEVEN_IMAGE.size)
    assert (
        digit_of(encoded(Image.fromarray(np.uint8(np.clip(40 + np.asarray(SEVEN_IMAGE) * 0.6 + grain, 0, 255))))) == 7
    )
