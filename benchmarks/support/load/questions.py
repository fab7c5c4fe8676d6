"""The ways to ask for a prediction of one picture: web_single's own, and the Open Inference Protocol's three."""

import json
from typing import NamedTuple

import numpy as np

from common.domain.digits import EXAMPLE, FEATURES
from common.open_inference.generated import open_inference_pb2 as pb

MODEL_NAME = "mlp"
"""What every server calls its model, whichever it is."""
INPUT = {"name": "features", "datatype": "FP32", "shape": [1, FEATURES]}
OUTPUT = "probabilities"
PICTURE = json.dumps(EXAMPLE)
PIXELS = np.array(EXAMPLE["pixels"], np.float32)


class Question(NamedTuple):
    """A path, a body, and lines of headers; over HTTP it is a POST, over gRPC the path is that of the method."""

    path: str
    body: bytes
    headers: tuple[str, ...] = ("Content-Type: application/json",)
    over_grpc: bool = False


def v2_json() -> Question:
    """All numbers as text."""
    request = {"inputs": [INPUT | {"data": EXAMPLE["pixels"]}], "outputs": [{"name": OUTPUT}]}
    return Question(f"/v2/models/{MODEL_NAME}/infer", json.dumps(request).encode())


def v2_binary(model: str = MODEL_NAME) -> Question:
    """The numbers as bytes, after a JSON that says what they are; so are those of the answer."""
    numbers = PIXELS.tobytes()
    request = {
        "inputs": [INPUT | {"parameters": {"binary_data_size": len(numbers)}}],
        "outputs": [{"name": OUTPUT}],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(request).encode()
    headers = ("Content-Type: application/octet-stream", f"Inference-Header-Content-Length: {len(head)}")
    return Question(f"/v2/models/{model}/infer", head + numbers, headers)


def v2_grpc() -> Question:
    """The numbers as bytes beside the message's other fields."""
    request = pb.ModelInferRequest(model_name=MODEL_NAME, raw_input_contents=[PIXELS.tobytes()])
    request.inputs.add(**INPUT)
    request.outputs.add(name=OUTPUT)
    return Question("/inference.GRPCInferenceService/ModelInfer", request.SerializeToString(), (), over_grpc=True)


PREDICT = Question("/predict", PICTURE.encode())
V2_JSON = v2_json()
V2_BINARY = v2_binary()
V2_GRPC = v2_grpc()
