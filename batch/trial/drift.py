"""How far data and scores have moved since the model was trained, by the figures in its card: what a trial tells.

A shift is in standard deviations of the training data, the usual z of a mean against a reference.
"""

from pathlib import Path

import numpy as np
from pydantic_core import from_json

from batch.process_chunk import Result

FLAT = 0.1
"""A feature that hardly varied in training has no scale to measure a shift by."""


def drift(result: Result, model_uri: str) -> dict[str, float] | None:
    """Of a chunk with rows: None where the model has no card beside it."""
    try:
        reference = from_json(Path(model_uri).with_suffix(".json").read_bytes())["reference"]
    except (OSError, ValueError, KeyError):
        return None
    means, stds = np.array(reference["feature_mean"]), np.array(reference["feature_std"])
    shifts = np.abs(np.array(result.feature_sums) / result.rows - means)[stds > FLAT] / stds[stds > FLAT]
    confidence = result.confidence_sum / result.rows
    return {
        "largest_feature_shift": round(float(shifts.max()), 4),
        "mean_feature_shift": round(float(shifts.mean()), 4),
        "mean_confidence": round(confidence, 4),
        "confidence_shift": round(confidence - float(reference["mean_confidence"]), 4),
    }
