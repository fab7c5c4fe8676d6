"""Request and response bodies of the Open Inference Protocol, for a client: tensors as bytes after the JSON.

An invalid response raises `ValueError`, and nothing else is raised.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

HEADER_LENGTH = "inference-header-content-length"
MEDIA_TYPE = "application/octet-stream"
FP32 = np.dtype("<f4")


def write_request(features: NDArray[np.float32], input_name: str, output_name: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request for one output of a model with one input."""
    head = _head(features.shape, input_name, output_name)
    headers = {"content-type": MEDIA_TYPE, HEADER_LENGTH: str(len(head))}
    return head + features.astype(FP32, copy=False).tobytes(), headers


@lru_cache(maxsize=64)
def _head(shape: tuple[int, ...], input_name: str, output_name: str) -> bytes:
    size = int(np.prod(shape)) * FP32.itemsize
    tensor = {"name": input_name, "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": size}}
    return to_json({"inputs": [tensor], "outputs": [{"name": output_name, "parameters": {"binary_data": True}}]})


def read_response(body: bytes, header_length: str | None, output_name: str) -> tuple[NDArray[np.float32], str, str]:
    """The output in its declared shape, and the model's name and version."""
    try:
        end = len(body) if header_length is None else int(header_length)
        document = from_json(body[:end])
        (output,) = [output for output in document["outputs"] if output["name"] == output_name]
        if output["datatype"] != "FP32":
            raise ValueError(f"the output is {output['datatype']}, not FP32")
        values = np.array(output["data"], FP32) if "data" in output else np.frombuffer(body, FP32, offset=end)
        return values.reshape(output["shape"]), str(document["model_name"]), str(document["model_version"])
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a response of the protocol ({type(error).__name__}: {error})") from None
