"""Request and response bodies of the Open Inference Protocol, for a client: tensors as bytes after the JSON.

An invalid response raises `ValueError`, and nothing else is raised.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from common.open_inference.datatypes import DTYPES, datatype

HEADER_LENGTH = "inference-header-content-length"
MEDIA_TYPE = "application/octet-stream"

Tensors = dict[str, NDArray[Any]]


def write_request(inputs: Tensors, outputs: tuple[str, ...]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request for these outputs."""
    specs = tuple([(name, values.dtype, values.shape) for name, values in inputs.items()])
    head = _head(specs, outputs)
    headers = {"content-type": MEDIA_TYPE, HEADER_LENGTH: str(len(head))}
    return b"".join([head, *[_little_endian(values) for values in inputs.values()]]), headers


def _little_endian(values: NDArray[Any]) -> bytes:
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


@lru_cache(maxsize=64)
def _head(specs: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...], outputs: tuple[str, ...]) -> bytes:
    inputs = [
        {
            "name": name,
            "datatype": datatype(dtype),
            "shape": shape,
            "parameters": {"binary_data_size": int(np.prod(shape)) * dtype.itemsize},
        }
        for name, dtype, shape in specs
    ]
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    return to_json({"inputs": inputs, "outputs": wanted})


def read_response(body: bytes, header_length: str | None, names: tuple[str, ...]) -> tuple[Tensors, str, str]:
    """These outputs in their declared shapes, and the model's name and version."""
    try:
        end = len(body) if header_length is None else int(header_length)
        document = from_json(body[:end])
        found: Tensors = {}
        for output in document["outputs"]:
            dtype = DTYPES[output["datatype"]]
            if "data" in output:
                values = np.array(output["data"], dtype)
            else:
                size = output.get("parameters", {}).get("binary_data_size", len(body) - end)
                values = np.frombuffer(body[end : end + size], dtype)
                end += size
            found[output["name"]] = values.reshape(output["shape"])
        outputs = {name: found[name] for name in names}
        return outputs, str(document["model_name"]), str(document["model_version"])
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a response of the protocol ({type(error).__name__}: {error})") from None
