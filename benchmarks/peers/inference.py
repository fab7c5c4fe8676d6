"""The work itself, the same for all peers: rows of 64 pixels through an ONNX model, with one thread."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

MODELS = Path(__file__).parents[2] / "common" / "models"
MAX_BATCH_ROWS = 64
"""The default of web_single's MAX_BATCH_ROWS."""


class Model:
    """An ONNX model: (n, 64) float32 -> (n, classes) probabilities."""

    def __init__(self, name: str = "") -> None:
        """The model of this name, or the one that MODEL_URI names."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        path = str(MODELS / f"{name}.onnx") if name else os.environ["MODEL_URI"]
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(self, rows: Any) -> np.ndarray:
        """Probabilities of an array, or a list of lists of numbers."""
        features = np.asarray(rows, dtype=np.float32)
        probabilities: np.ndarray = self._session.run(["probabilities"], {"features": features})[0]
        return probabilities


def prediction(probabilities: np.ndarray) -> dict[str, Any]:
    """One row's probabilities as an answer in JSON, with the members that web_single gives."""
    digit = int(probabilities.argmax())
    return {"digit": digit, "confidence": float(probabilities[digit]), "probabilities": probabilities.tolist()}
