"""What happens to a scan on its way: damage that leaves it legible, and damage that does not."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.domain import ink
from common.training.data import Features, Rows, stack
from common.training.strokes import scribbles


def degrade(features: Features, rng: np.random.Generator) -> Features:
    """Blurred a little, with grainy paper and holes: a person can mostly still read it. Shape (n, 64), 0 to 16."""
    count = len(features)
    share = rng.uniform(0, 0.5, (count, 1))
    grain = rng.uniform(1, 3, (count, 1))
    kept = rng.random(features.shape) > 0.08
    blurred = (1 - share) * features + share * _neighbours(features)
    return _to_ink(blurred * kept + rng.normal(0, grain, features.shape))


def noise(features: Features, rng: np.random.Generator) -> Features:
    """Random cells, from sparse specks to a full grid."""
    density = rng.uniform(0.15, 1, (len(features), 1))
    return _to_ink(rng.uniform(0, ink.FULL_CELL, features.shape) * (rng.random(features.shape) < density))


def shuffle(features: Features, rng: np.random.Generator) -> Features:
    """The right amount of ink in the wrong places."""
    return rng.permuted(features, axis=1)


def blur(features: Features, rng: np.random.Generator) -> Features:
    """So wet that strokes have run together."""
    for _ in range(6):
        features = (features + 2 * _neighbours(features)) / np.float32(3)
    return _to_ink(features * rng.uniform(0.7, 1.5, (len(features), 1)))


def blank(features: Features, rng: np.random.Generator) -> Features:
    """An even grey, from white to black, with a little grain."""
    grey = rng.uniform(0, ink.FULL_CELL, (len(features), 1))
    return _to_ink(grey + rng.normal(0, 0.8, features.shape))


def erase_half(features: Features, rng: np.random.Generator) -> Features:
    """Only the upper, lower, left or right half is left."""
    grid = features.reshape(-1, 8, 8).copy()
    for scan, side in zip(grid, rng.integers(0, 4, len(grid)), strict=True):
        half = slice(0, 4) if side % 2 else slice(4, 8)
        scan[half if side < 2 else slice(None), slice(None) if side < 2 else half] = 0
    return grid.reshape(-1, 64)


def scribble(features: Features, rng: np.random.Generator) -> Features:
    """A pen that went to and fro, as many times as there are scans."""
    return np.stack([ink.to_features(picture) for picture in scribbles(len(features), rng)])


ILLEGIBLE: dict[str, Callable[[Features, np.random.Generator], Features]] = {
    "noise": noise,
    "shuffled": shuffle,
    "blurred": blur,
    "blank": blank,
    "half_erased": erase_half,
    "scribbled": scribble,
}


def illegible(features: Features, rng: np.random.Generator) -> Rows:
    """Every scan ruined in each of the six ways; the label is 0, illegible."""
    ruined = [ruin(features, rng) for ruin in ILLEGIBLE.values()]
    return stack(*(Rows(part, np.zeros(len(part), dtype=np.int64)) for part in ruined))


def _neighbours(features: Features) -> Features:
    """The mean of the four cells around each cell."""
    grid = np.pad(features.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    around = grid[:, 1:-1, :-2] + grid[:, 1:-1, 2:] + grid[:, :-2, 1:-1] + grid[:, 2:, 1:-1]
    return (around / np.float32(4)).reshape(-1, 64)


def _to_ink(values: NDArray[np.floating[Any]]) -> Features:
    inked: Features = np.clip(values, 0, ink.FULL_CELL).astype(np.float32)
    return inked
