"""A model in another service: rows go out, its outputs come back; a classifier's are a probability for each class.

It speaks the Open Inference Protocol over REST (`classifier_rest.py`) or gRPC (`classifier_grpc.py`), behind the same
interface. Anything but a valid answer is a `BackendError`.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from common.service.deadline import Caller

Tensors = dict[str, NDArray[Any]]
"""Arrays by the name of a model's input or output; their first axis counts the rows."""

SUM_TOLERANCE = 0.01
"""How far the probabilities of a row may be from summing to 1: they are 32-bit floats, and some models round."""


class Classification(NamedTuple):
    """The outputs that were requested, n rows each, and the model that they come from."""

    outputs: Tensors
    model: str
    version: str

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """The first output; a classifier's has shape (n, classes)."""
        return next(iter(self.outputs.values()))


class Classifier(Protocol):
    """The interface of both."""

    async def classify(self, inputs: Tensors, caller: Caller) -> Classification:
        """The outputs for inputs of n rows each; raises `BackendError`."""
        ...

    async def is_ready(self) -> bool:
        """Whether the model is loaded and can predict."""
        ...


def validate_outputs(outputs: Tensors, classes: int, rows: int | None) -> None:
    """Raises `ValueError` unless these are outputs for `rows` rows (None: any number).

    The first must hold probabilities of `classes` classes; 0 classes: any finite numbers.
    """
    first, *others = outputs.items()
    if classes:
        validate_probabilities(first[1], classes, rows)
    else:
        others.append(first)
    for name, values in others:
        if rows is not None and (not values.ndim or len(values) != rows):
            raise ValueError(f"expected {name} of {rows} rows, got shape {values.shape}")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"expected {name} to be finite numbers")


def validate_probabilities(probabilities: NDArray[Any], classes: int, rows: int | None) -> None:
    """Raises `ValueError` unless these are probabilities of `classes` classes for `rows` rows (None: any number)."""
    expected = f"expected probabilities of shape ({'n' if rows is None else rows}, {classes})"
    shape = probabilities.shape
    if rows is None and shape:
        rows = max(1, shape[0])
    if probabilities.dtype.kind != "f":
        raise ValueError(f"{expected}, got {probabilities.dtype}")
    if shape != (rows, classes):
        raise ValueError(f"{expected}, got {shape}")
    # In Python, since rows are short and few. NaN fails the comparison of the sum.
    if not all(min(row) >= 0 and abs(sum(row) - 1) <= SUM_TOLERANCE for row in probabilities.tolist()):
        raise ValueError(f"{expected}, got numbers that are not probabilities")
