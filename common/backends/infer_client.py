"""Request and response bodies of the Open Inference Protocol, for a client: tensors as bytes after the JSON.

An invalid response raises `ValueError`, and nothing else is raised.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from common.open_inference.datatypes import DTYPES, datatype
from common.open_inference.tensors_binary import from_answer, to_binary

HEADER_LENGTH = "inference-header-content-length"
MEDIA_TYPE = "application/octet-stream"

Tensors = dict[str, NDArray[Any]]


def write_request(inputs: Tensors, outputs: tuple[str, ...]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request for these outputs."""
    parts = [to_binary(values) for values in inputs.values()]
    tensors = zip(inputs.items(), parts, strict=True)
    specs = [(name, values.dtype, values.shape, len(part)) for (name, values), part in tensors]
    head = _head(tuple(specs), outputs)
    headers = {"content-type": MEDIA_TYPE, HEADER_LENGTH: str(len(head))}
    return b"".join([head, *parts]), headers


@lru_cache(maxsize=64)
def _head(specs: tuple[tuple[str, np.dtype[Any], tuple[int, ...], int], ...], outputs: tuple[str, ...]) -> bytes:
    inputs = [
        {
            "name": name,
            "datatype": datatype(dtype),
            "shape": shape,
            "parameters": {"binary_data_size": size},
        }
        for name, dtype, shape, size in specs
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
            name, datatype_name, shape = output["name"], output["datatype"], output["shape"]
            if "data" in output:
                found[name] = np.array(output["data"], DTYPES[datatype_name]).reshape(shape)
            else:
                size = output.get("parameters", {}).get("binary_data_size", len(body) - end)
                found[name] = from_answer(body[end : end + size], datatype_name, shape)
                end += size
        outputs = {name: found[name] for name in names}
        return outputs, str(document["model_name"]), str(document["model_version"])
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a response of the protocol ({type(error).__name__}: {error})") from None
