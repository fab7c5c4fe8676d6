"""How good a model is, measured on its ONNX file with rows that no model has learned from: the figures of the cards."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from common.domain import ink
from common.training.damage import ILLEGIBLE, degrade
from common.training.data import SEED, Features, Rows, drawn, enlarge, held_out, read, stack
from common.training.foreign import FOREIGN
from common.training.photographs import DAMAGE, photograph

LOW_CONFIDENCE_BELOW = 0.9
DAMAGED_COPIES = 4
DRAWINGS = 1000
PHOTOGRAPHS = 200  # of each kind
FOREIGN_DRAWINGS = 1000  # of each kind: of fewer, chance decides 2 %

Run = Callable[[Features], tuple[NDArray[np.int64], NDArray[np.float32]]]  # features -> labels, probabilities


def runner(onnx: bytes) -> Run:
    """A function that runs the model on features of shape (n, 64): labels (n,) and probabilities (n, classes)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])

    def run(features: Features) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        labels, probabilities = session.run(["label", "probabilities"], {"features": features})
        return labels, probabilities

    return run


def reader_figures(run: Run, everyday: Run) -> dict[str, float]:
    """Share of right digits: held-out scans, the same enlarged and damaged, drawings, what `everyday` is unsure of."""
    scans = held_out()
    rng = np.random.default_rng(SEED + 1)  # not the seed of training: these are other drawings
    pictures = np.stack([ink.to_features(ink.find_ink(enlarge(scan, 128))) for scan in scans.features])
    damaged = stack(*(Rows(degrade(scans.features, rng), scans.labels) for _ in range(DAMAGED_COPIES)))
    both = stack(scans, damaged)
    unsure = everyday(both.features)[1].max(axis=1) < LOW_CONFIDENCE_BELOW
    return {
        "held_out_scans": _accuracy(run, scans),
        "held_out_scans_as_pictures": _accuracy(run, Rows(pictures, scans.labels)),
        "held_out_scans_damaged": _accuracy(run, damaged),
        "held_out_scans_low_confidence_of_mlp": _accuracy(run, Rows(both.features[unsure], both.labels[unsure])),
        "drawn_digits": _accuracy(run, drawn(DRAWINGS, rng)),
    }


def quality_figures(run: Run) -> dict[str, float]:
    """Share of legible rows accepted; and refused, of rows ruined in each way, bad photographs and foreign drawings.

    Of photographs and foreign drawings only those count that the domain takes for one digit.
    """
    scans = held_out().features
    rng = np.random.default_rng(SEED + 1)
    accepted = {
        "held_out_scans": scans,
        "held_out_scans_damaged": degrade(scans, rng),
        "drawn_digits": drawn(DRAWINGS, rng).features,
    }
    refused = {name: ruin(scans, rng) for name, ruin in ILLEGIBLE.items()}
    accepted["photographs"] = read(photograph, PHOTOGRAPHS, rng)
    refused |= {
        f"photographs_{name}": read(partial(photograph, damage=damage), PHOTOGRAPHS, rng)
        for name, damage in DAMAGE.items()
    }
    refused |= {name: read(draw, FOREIGN_DRAWINGS, rng) for name, (draw, _) in FOREIGN.items()}
    return {f"accepted_{name}": _share(run(features)[0] == 1) for name, features in accepted.items()} | {
        f"refused_{name}": _share(run(features)[0] == 0) for name, features in refused.items()
    }


def mean_confidence(run: Run, features: Features) -> float:
    """The mean of the highest probability, over features of shape (n, 64)."""
    return round(float(run(features)[1].max(axis=1).mean()), 4)


def microseconds(run: Run, rounds: int = 300) -> float:
    """The median time for one row, in microseconds, one thread."""
    row = held_out().features[:1]
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run(row)
        times.append(time.perf_counter() - start)
    return round(float(np.median(times)) * 1e6, 1)


def _accuracy(run: Run, rows: Rows) -> float:
    return _share(run(rows.features)[0] == rows.labels)


def _share(right: NDArray[np.bool_]) -> float:
    return round(float(right.mean()), 4)
