"""The inputs that WARM_UP names, in place of guessed ones: a JSON object of lists by input, or an .npz file."""

import json
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from common.inference.model_file import ModelError
from common.inference.tensor_spec import ANY, Tensors, TensorSpec

KINDS = {"f": "fiu", "i": "iuf", "u": "iuf", "b": "biu"}
"""By the kind of an input's dtype, those that may be given for it."""


def read_inputs(path: Path, specs: Sequence[TensorSpec]) -> Tensors:
    """An array for each input, in its dtype; raises `ModelError` if the file has no such inputs."""
    try:
        if path.suffix == ".npz":
            given: Any = _read_npz(path)
        else:
            given = json.loads(path.read_text("utf-8-sig"))
        if not isinstance(given, dict):
            raise ValueError("it is no object")
        return {spec.name: _to_array(given[spec.name], spec) for spec in specs}
    except KeyError as error:
        raise ModelError(f"WARM_UP={path} has no input {error.args[0]!r}: add it, or unset WARM_UP") from None
    except (OSError, ValueError, TypeError, ArithmeticError, RecursionError, BadZipFile, EOFError) as error:
        reason = " ".join(str(error).split()) or "it is empty"
        raise ModelError(f"WARM_UP={path} holds no inputs ({reason}): expected JSON or .npz by input") from None


def _read_npz(path: Path) -> Tensors:
    with path.open("rb") as opened:
        arrays = np.load(opened, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("it is an .npy file")
        return {name: arrays[name] for name in arrays.files}


def _to_array(value: object, spec: TensorSpec) -> NDArray[Any]:
    found = np.asarray(value, object if spec.dtype.kind == "O" else None)  # else numpy makes text of numbers
    with np.errstate(over="raise", invalid="raise"):  # 1e50 is no float32
        array = found.astype(spec.dtype)
    if not _holds(array, found):
        expected = {"O": "strings", "b": "booleans", "f": "numbers"}.get(spec.dtype.kind, "whole numbers")
        raise ValueError(f"input {spec.name}: expected {expected} that fit {spec.dtype}, got {short_repr(value)}")
    if spec.shape and not _has_shape(array, spec.shape):  # without one, the graph takes any
        raise ValueError(f"input {spec.name}: expected the shape {list(spec.shape)}, got {list(array.shape)}")
    return array


def _holds(array: NDArray[Any], found: NDArray[Any]) -> bool:
    """Whether conversion kept what was found: no fraction cut off, no number made of a text or of a boolean."""
    if array.dtype == object:
        return all(type(value) is str for value in found.flat)
    if found.size and found.dtype.kind not in KINDS[array.dtype.kind]:
        return False
    return array.dtype.kind == "f" or bool(np.all(found == array))


def _has_shape(array: NDArray[Any], shape: tuple[int, ...]) -> bool:
    """Whether the array has this shape, with any number of rows."""
    return array.ndim == len(shape) and all(
        length in (ANY, got) or axis == 0 for axis, (got, length) in enumerate(zip(array.shape, shape, strict=True))
    )
