"""A classifier in another service: rows of features go out, a probability for each class comes back.

It speaks the Open Inference Protocol over REST (`classifier_rest.py`) or gRPC (`classifier_grpc.py`), behind the same
interface. Anything but a valid answer is a `BackendError`.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from common.service.deadline import Caller

SUM_TOLERANCE = 0.01
"""How far the probabilities of a row may be from summing to 1: they are 32-bit floats, and some models round."""


class Classification(NamedTuple):
    """Probabilities of shape (n, classes), float32, and the model that they come from."""

    probabilities: NDArray[np.float32]
    model: str
    version: str


class Classifier(Protocol):
    """The interface of both."""

    async def classify(self, features: NDArray[np.float32], caller: Caller) -> Classification:
        """The probabilities for features of shape (n, m); raises `BackendError`."""
        ...

    async def is_ready(self) -> bool:
        """Whether the model is loaded and can predict."""
        ...


def validate_probabilities(probabilities: NDArray[np.float32], classes: int, rows: int | None) -> None:
    """Raises `ValueError` unless these are probabilities of `classes` classes for `rows` rows (None: any number)."""
    expected = f"expected probabilities of shape ({'n' if rows is None else rows}, {classes})"
    shape = probabilities.shape
    if rows is None and shape:
        rows = max(1, shape[0])
    if shape != (rows, classes):
        raise ValueError(f"{expected}, got {shape}")
    # In Python, since rows are short and few. NaN fails the comparison of the sum.
    if not all(min(row) >= 0 and abs(sum(row) - 1) <= SUM_TOLERANCE for row in probabilities.tolist()):
        raise ValueError(f"{expected}, got numbers that are not probabilities")
