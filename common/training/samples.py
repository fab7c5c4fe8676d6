"""Things to try: held-out scans enlarged, a drawn digit, an illegible smudge, a letter read with low confidence."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from common.training.damage import degrade
from common.training.data import SEED, Features, enlarge, held_out
from common.training.measure import Run
from common.training.strokes import drawn_digits, scribbles

SIDE = 280  # pixels
SCANS = {"zero": 0, "two": 2, "four": 4, "seven": 7}
DRAWN = 3
LOW_CONFIDENCE_DIGIT = 6
SCANS_OF_A_LETTER = 3


def write_samples(folder: Path, read: Run) -> None:
    """Writes six PNGs, of each digit the scan that `read` is surest of; as JSON, the letter it is least sure of."""
    for name, digit in SCANS.items():
        _scan(digit, read).save(folder / f"{name}.png", optimize=True)
    rng = np.random.default_rng(SEED)
    drawing = next(drawn_digits(np.array([DRAWN]), rng))
    _picture(drawing).save(folder / "drawn_three.png", optimize=True)
    smudge = np.stack(list(scribbles(4, rng)))
    _picture(smudge.mean(axis=0)).filter(ImageFilter.GaussianBlur(12)).save(folder / "smudge.png", optimize=True)
    letter = [{"pixels": scan.round(1).tolist()} for scan in _low_confidence_letter(LOW_CONFIDENCE_DIGIT, read)]
    (folder / "low_confidence_letter.json").write_text(f"{json.dumps(letter)}\n")


def _low_confidence_letter(digit: int, read: Run) -> Features:
    """Damaged scans of one digit, shape (3, 64): of all such letters the one whose first scan is hardest to read."""
    features, labels = held_out()
    rng = np.random.default_rng(SEED)
    copies = np.stack([degrade(features[labels == digit], rng) for _ in range(SCANS_OF_A_LETTER)])
    hardest = read(copies[0])[1].max(axis=1).argmin()
    return copies[:, hardest]


def _scan(digit: int, read: Run) -> Image.Image:
    features, labels = held_out()
    candidates = features[labels == digit]
    surest = read(candidates)[1][:, digit].argmax()
    framed = Image.new("L", (SIDE, SIDE), 255)
    framed.paste(enlarge(candidates[surest], SIDE - 80), (40, 40))
    return framed


def _picture(ink: NDArray[np.float32]) -> Image.Image:
    """Ink, 0 to 1, as a dark-on-light picture with a margin."""
    grey = Image.fromarray((255 - 255 * ink).astype(np.uint8)).resize((SIDE - 80, SIDE - 80), Image.Resampling.BICUBIC)
    framed = Image.new("L", (SIDE, SIDE), 255)
    framed.paste(grey, (40, 40))
    return framed
