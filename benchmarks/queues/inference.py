"""The work itself, the same for all libraries: one row through the reader, with onnxruntime."""

from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort

MODEL = Path(__file__).parents[2] / "common" / "models" / "mlp.onnx"


def read(payload: bytes) -> list[float]:
    """64 float32 -> ten probabilities."""
    features = np.frombuffer(payload, "<f4").reshape(1, 64)
    probabilities: np.ndarray = _session().run(["probabilities"], {"features": features})[0]
    return [float(value) for value in probabilities[0]]


@cache
def _session() -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(MODEL, options)
