"""Tensors by name, and what a model's graph says about each: name, dtype, shape."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[Any]]
"""Arrays by the name of a model's input or output; their first axis counts the rows."""

Run = Callable[[Tensors], Tensors]
"""Runs a graph: outputs for inputs. Raises what onnxruntime raises."""

ANY = -1
"""The length of an axis that may have any length."""


class TensorSpec(NamedTuple):
    """One input or output: name, numpy dtype, and shape with -1 for an axis of any length.

    `labels` names the columns of an output that the graph gives as a list of maps (ZipMap); otherwise it is empty.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    labels: tuple[str | int, ...] = ()
