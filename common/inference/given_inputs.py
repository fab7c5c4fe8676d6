"""The inputs that WARM_UP names, in place of guessed ones: a JSON object of lists by input, or an .npz file."""

import json
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.inference.model_file import ModelError
from common.inference.tensor_spec import ANY, Tensors, TensorSpec


def read_inputs(path: Path, specs: Sequence[TensorSpec]) -> Tensors:
    """An array for each input, in its dtype; raises `ModelError` if the file has no such inputs."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                given = {name: file[name] for name in file.files}
        else:
            given = json.loads(path.read_text())
        return {spec.name: _to_array(given[spec.name], spec) for spec in specs}
    except KeyError as error:
        raise ModelError(f"WARM_UP={path} has no input {error.args[0]!r}: add it, or unset WARM_UP") from None
    except (OSError, ValueError, TypeError, ArithmeticError) as error:
        raise ModelError(f"WARM_UP={path} holds no inputs ({error}): expected JSON or .npz by input") from None


def _to_array(value: object, spec: TensorSpec) -> NDArray[Any]:
    found = np.asarray(value)
    with np.errstate(over="raise", invalid="raise"):  # 1e50 is no float32
        array = found.astype(spec.dtype)
    if not _holds(array, found):
        raise ValueError(f"input {spec.name}: expected {spec.dtype.name}, got {found.dtype.name} {short_repr(value)}")
    if spec.shape and not _has_shape(array, spec.shape):  # without one, the graph takes any
        raise ValueError(f"input {spec.name}: expected the shape {list(spec.shape)}, got {list(array.shape)}")
    return array


def _holds(array: NDArray[Any], found: NDArray[Any]) -> bool:
    """Whether conversion kept what was found: no fraction cut off, no text made of a number, or the other way round."""
    if array.dtype.kind in "fO" and found.size:
        return found.dtype.kind in ("fiu" if array.dtype.kind == "f" else "UO")
    return np.array_equal(array, found)


def _has_shape(array: NDArray[Any], shape: tuple[int, ...]) -> bool:
    """Whether the array has this shape, with any number of rows."""
    return array.ndim == len(shape) and all(
        length in (ANY, got) or axis == 0 for axis, (got, length) in enumerate(zip(array.shape, shape, strict=True))
    )
