"""Drift of features and confidence since the model was trained, from the statistics in its card.

A shift is in standard deviations of the training data, the usual z of a mean against a reference.
"""

from pathlib import Path

import numpy as np
from pydantic_core import from_json

from batch.process_chunk import Result

MIN_STD = 0.1
"""Features that hardly varied in training are skipped: their shift has no scale."""


def measure_drift(result: Result, model_uri: str) -> dict[str, float] | None:
    """The drift of a chunk with rows; None if the model has no card beside it."""
    try:
        reference = from_json(Path(model_uri).with_suffix(".json").read_bytes())["reference"]
    except (OSError, ValueError, KeyError):
        return None
    means, stds = np.array(reference["feature_mean"]), np.array(reference["feature_std"])
    shifts = np.abs(np.array(result.feature_sums) / result.rows - means)[stds > MIN_STD] / stds[stds > MIN_STD]
    confidence = result.confidence_sum / result.rows
    return {
        "largest_feature_shift": round(float(shifts.max()), 4),
        "mean_feature_shift": round(float(shifts.mean()), 4),
        "mean_confidence": round(confidence, 4),
        "confidence_shift": round(confidence - float(reference["mean_confidence"]), 4),
    }
