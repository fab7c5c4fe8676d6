"""Requests of the Open Inference Protocol over gRPC, raw and typed, and what a refusal looks like."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1.health_pb2_grpc import HealthStub

from common.open_inference.generated import open_inference_pb2 as pb
from common.open_inference.tensors_grpc import CONTENTS
from tests.support.load.grpc_and_rest import inference_stub
from tests.support.open_inference.tensors import KINDS, Arrays, described, elements_in, in_binary
from tests.support.processes import free_port
from tests.support.service_process import APP, Server, serving

INFER = "/inference.GRPCInferenceService/ModelInfer"


class GrpcClient:
    """A server, and the stubs of a channel to it."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub = inference_stub(self.channel)
        self.health: Any = HealthStub(self.channel)

    def infer(self, inputs: Arrays, raw: bool = True, model: str = "mlp", **request: Any) -> pb.ModelInferResponse:
        answer: pb.ModelInferResponse = self.stub.ModelInfer(message(inputs, raw, model, **request), timeout=20)
        return answer


@contextmanager
def grpc_client(app: str = APP, /, **settings: object) -> Iterator[GrpcClient]:
    port = free_port()
    with serving(app, grpc_port=port, **settings) as server:
        client = GrpcClient(server, port)
        yield client
        client.channel.close()


def message(inputs: Arrays, raw: bool = True, model: str = "mlp", **request: Any) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=model, inputs=described(inputs), **request)
    if raw:
        message.raw_input_contents.extend(in_binary(inputs))
        return message
    for tensor, array in zip(message.inputs, inputs.values(), strict=True):
        elements = array.ravel().tolist()
        if tensor.datatype == "BYTES":
            elements = [text.encode() for text in elements]
        getattr(tensor.contents, CONTENTS[tensor.datatype]).extend(elements)
    return message


def outputs_of(answer: pb.ModelInferResponse) -> Arrays:
    outputs: Arrays = {}
    for number, tensor in enumerate(answer.outputs):
        elements: Any
        if answer.raw_output_contents:
            elements = elements_in(answer.raw_output_contents[number], tensor.datatype)
        else:
            elements = np.array(list(getattr(tensor.contents, CONTENTS[tensor.datatype])), KINDS[tensor.datatype][1])
        outputs[tensor.name] = elements.reshape(list(tensor.shape))
    return outputs


def refused(code: grpc.StatusCode, call: Callable[[], object], *words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    assert error.code() == code, error
    assert all(word in error.details() for word in words), error
