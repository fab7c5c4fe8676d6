"""The inputs that WARM_UP names, in place of guessed ones: a JSON object of lists by input, or an .npz file."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

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
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"WARM_UP={path} holds no inputs ({error}): expected JSON or .npz by input") from None


def _to_array(value: object, spec: TensorSpec) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    array = np.asarray(value, spec.dtype)
    fits = array.ndim == len(spec.shape) and all(
        length in (ANY, got) or axis == 0
        for axis, (got, length) in enumerate(zip(array.shape, spec.shape, strict=True))
    )
    if not fits:
        raise ValueError(f"input {spec.name}: expected the shape {list(spec.shape)}, got {list(array.shape)}")
    return array
