"""A classifier that another service holds: rows of features go out, a probability for each class comes back.

It is asked by the Open Inference Protocol, over REST (`classifier_rest.py`) or gRPC (`classifier_grpc.py`); whoever
asks cannot tell which. No usable answer is a `BackendError`.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from common.backends.backend import BackendError, Caller

SUM_TOLERANCE = 0.01
"""By how much the probabilities of a row may miss 1: they are 32-bit floats, and some models round."""


class Classification(NamedTuple):
    """Probabilities of shape (n, classes), float32, and which model gave them."""

    probabilities: NDArray[np.float32]
    model: str
    version: str


class Classifier(Protocol):
    """What REST and gRPC have in common."""

    async def classify(self, features: NDArray[np.float32], caller: Caller) -> Classification:
        """The probabilities for features of shape (n, m); raises `BackendError`."""
        ...

    async def is_ready(self) -> bool:
        """Whether the model is there and can predict."""
        ...


def checked(probabilities: NDArray[np.float32], classes: int, rows: int | None) -> NDArray[np.float32]:
    """The same, if they are probabilities of so many classes for so many rows (None: any); raises `BackendError`."""
    if found := mistake(probabilities, classes, rows):
        raise BackendError("error", found, again=True)
    return probabilities


def mistake(probabilities: NDArray[np.float32], classes: int, rows: int | None) -> str | None:
    """Why these are no probabilities of so many classes for so many rows (None: any); None if they are."""
    expected = f"expected probabilities of shape ({'n' if rows is None else rows}, {classes})"
    rows = rows or max([1, *probabilities.shape[:1]])
    if probabilities.shape != (rows, classes):
        return f"{expected}, got {probabilities.shape}"
    # In Python, since rows are short and few. A NaN fails the comparison of the sum.
    if not all(min(row) >= 0 and abs(sum(row) - 1) <= SUM_TOLERANCE for row in probabilities.tolist()):
        return f"{expected}, got numbers that are none"
    return None
