"""The data types of the Open Inference Protocol and their numpy dtypes: little-endian on every machine.

https://kserve.github.io/website/docs/reference/inference-protocols/v2-protocol
"""

from typing import Any

import numpy as np

from common.inference.tensor_spec import TensorSpec

BYTES = "BYTES"
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    BYTES: np.dtype("O"),  # strings
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def datatype(dtype: np.dtype[Any]) -> str:
    """The protocol's name of a dtype; numpy's name in capitals where the protocol has none."""
    return _NAMES.get(dtype) or (BYTES if dtype.kind in "USO" else dtype.name.upper())


def metadata(specs: tuple[TensorSpec, ...], batched: bool) -> list[dict[str, Any]]:
    """The protocol's description of a model's inputs or outputs; -1 is an axis of any length.

    `batched`: the first axis counts rows, and a request may have any number of them.
    """
    return [
        {"name": spec.name, "datatype": datatype(spec.dtype), "shape": [-1, *spec.shape[1:]] if batched else spec.shape}
        for spec in specs
    ]
