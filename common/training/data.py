"""What the models learn from: scikit-learn's bundled scans, split once and for all, warped copies and drawn digits."""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from common.domain import ink
from common.training.strokes import drawn_digits

SEED = 20260
HELD_OUT = 0.25
WARPED_COPIES = 10
DRAWN = 20_000
SIDE = 64  # pixels of a warped scan

Features = NDArray[np.float32]  # shape (n, 64), ink per cell, 0 to 16


class Rows(NamedTuple):
    """Examples: features of shape (n, 64), 0 to 16, and labels of shape (n,)."""

    features: Features
    labels: NDArray[np.int64]


class Material(NamedTuple):
    """All that training has to choose from. The held-out scans have no part in it."""

    scans: Rows
    warped: Rows
    drawn: Rows


def material() -> Material:
    """The same rows at every call: the training scans, ten warped copies of each, and 20,000 drawn digits."""
    rng = np.random.default_rng(SEED)
    scans, _ = split()
    warped = stack(*(Rows(warp(scans.features, rng), scans.labels) for _ in range(WARPED_COPIES)))
    return Material(scans, warped, drawn(DRAWN, rng))


def all_scans() -> Rows:
    """All 1,797 scans of `sklearn.datasets.load_digits` (UCI, CC BY 4.0)."""
    features, labels = load_digits(return_X_y=True)
    return Rows(features.astype(np.float32), labels.astype(np.int64))


def split() -> tuple[Rows, Rows]:
    """Three quarters of each digit's scans to learn from, and one quarter held out."""
    scans = all_scans()
    halves = train_test_split(*scans, test_size=HELD_OUT, stratify=scans.labels, random_state=SEED)
    return Rows(halves[0], halves[2]), Rows(halves[1], halves[3])


def held_out() -> Rows:
    """The 450 scans that no model is trained on, nor on any copy of them."""
    return split()[1]


def drawn(count: int, rng: np.random.Generator) -> Rows:
    """`count` digits as drawn with a mouse, each digit equally often."""
    labels = np.arange(count, dtype=np.int64) % 10
    return Rows(np.stack([ink.to_features(picture) for picture in drawn_digits(labels, rng)]), labels)


def stack(*parts: Rows) -> Rows:
    """The parts one below the other."""
    return Rows(np.concatenate([part.features for part in parts]), np.concatenate([part.labels for part in parts]))


def enlarge(scan: Features, side: int, resample: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """One scan of shape (64,) as a dark-on-light `L` picture of side x side pixels."""
    grey = (255 - scan.reshape(8, 8) * (255 / ink.FULL_CELL)).astype(np.uint8)
    return Image.fromarray(grey).resize((side, side), resample)


def read(draw: Callable[[np.random.Generator], NDArray[np.float32]], count: int, rng: np.random.Generator) -> Features:
    """The first `count` drawings (ink, 0 to 1) that the domain does not refuse, as it reads them: shape (count, 64)."""
    rows: list[Features] = []
    while len(rows) < count:
        with suppress(ink.InvalidImage):
            rows.append(ink.to_features(ink.require_digit(draw(rng))))
    return np.stack(rows)


def warp(features: Features, rng: np.random.Generator) -> Features:
    """Each scan once more, as if photographed askew: rotated, slanted, squeezed, and its ink found again."""
    return np.stack([ink.to_features(_askew(scan, rng)) for scan in features])


def _askew(scan: Features, rng: np.random.Generator) -> NDArray[np.float32]:
    """The ink of one warped scan, shape (64, 64), 0 to 1."""
    resample = Image.Resampling.NEAREST if rng.random() < 0.3 else Image.Resampling.BICUBIC
    turn, slant = np.radians(rng.normal(0, 5)), rng.normal(0, 0.12)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    zoom = np.array([[1.25 * rng.uniform(0.9, 1.2)], [1.25]])  # outwards, so that no corner leaves the picture
    matrix = rotation @ [[1, slant], [0, 1]] * zoom
    x, y = SIDE / 2 - matrix @ np.full(2, SIDE / 2)
    picture = enlarge(scan, SIDE, resample).transform(
        (SIDE, SIDE), Image.Transform.AFFINE, (*matrix[0], x, *matrix[1], y), Image.Resampling.BILINEAR, fillcolor=255
    )
    return ink.find_ink(picture)
