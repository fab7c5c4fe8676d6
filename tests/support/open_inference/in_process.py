"""One model behind the protocol, in this process: REST through TestClient, gRPC through the handler of ModelInfer."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import numpy as np
from fastapi.testclient import TestClient

from common.inference.model import Model
from common.inference.predictor import Predictor
from common.open_inference.generated import open_inference_pb2 as pb
from common.open_inference.grpc.interceptor import method_handler
from common.open_inference.grpc.requests import GrpcCall, current_call
from common.open_inference.grpc.service import OpenInferenceGrpc
from common.open_inference.rest import add_open_inference
from common.open_inference.settings import GrpcSettings
from common.service.service import Service
from tests.support.open_inference.grpc_client import message, outputs_of
from tests.support.open_inference.rest_client import LENGTH, sized
from tests.support.open_inference.tensors import Arrays, elements_in, from_json, in_binary, in_json

WAYS = ("json", "binary", "grpc", "typed")
"""REST with tensors as JSON and as bytes, gRPC with raw and with typed contents."""


class Connected:
    """The part of a gRPC context that is asked for: whether the client has cancelled."""

    def cancelled(self) -> bool:
        return False


class InProcess:
    """A served model, and what it answers by each way of the protocol."""

    def __init__(self, client: TestClient, handler: Any, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._client, self._handler, self._loop = client, handler, loop
        self._url = f"/v2/models/{name}/infer"
        self._name = name

    def infer(self, way: str, inputs: Arrays) -> Arrays:
        if way in ("grpc", "typed"):
            return self.infer_together(way, [inputs])[0]
        if way == "json":
            answer = self._client.post(self._url, content=json.dumps(in_json(inputs)))
            assert answer.status_code == 200, answer.text
            return from_json(
                httpx.Response(200, headers={"Content-Type": answer.headers["Content-Type"]}, content=answer.content)
            )
        text = json.dumps(sized(inputs, parameters={"binary_data_output": True})).encode()
        answer = self._client.post(
            self._url, content=text + b"".join(in_binary(inputs)), headers={LENGTH: str(len(text))}
        )
        assert answer.status_code == 200, answer.text
        return outputs_in_binary(answer.content, int(answer.headers[LENGTH])) if LENGTH in answer.headers else {}

    def infer_together(self, way: str, requests: list[Arrays]) -> list[Arrays]:
        """The answers over gRPC to requests that arrive in one turn of the event loop."""

        async def one(inputs: Arrays) -> Arrays:
            request = message(inputs, way == "grpc", self._name).SerializeToString()
            context: Any = Connected()
            current_call.set(GrpcCall(monotonic() + 60, context))
            answer = await self._handler.unary_unary(self._handler.request_deserializer(request), context)
            return outputs_of(pb.ModelInferResponse.FromString(self._handler.response_serializer(answer)))

        async def all_() -> list[Arrays]:
            return list(await asyncio.gather(*map(one, requests)))

        return self._loop.run_until_complete(all_())


def outputs_in_binary(content: bytes, end: int) -> Arrays:
    outputs: Arrays = {}
    for tensor in json.loads(content[:end])["outputs"]:
        size = tensor["parameters"]["binary_data_size"]
        part, end = content[end : end + size], end + size
        outputs[tensor["name"]] = elements_in(part, tensor["datatype"]).reshape(tensor["shape"])
    assert end == len(content)
    return outputs


@contextmanager
def in_process(path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[InProcess]:
    """Serve the model of a file; gRPC in this event loop."""
    settings = GrpcSettings(model_uri=str(path), grpc_port=0, log_level="ERROR", request_timeout_ms=30_000)
    model = Model.load(str(path), threads=1)
    app = Service("test", settings)
    predictor = Predictor(model, settings, app.metrics)
    add_open_inference(app, predictor)
    handler = method_handler(OpenInferenceGrpc(app, predictor).infer, pb.ModelInferRequest, settings.max_body_bytes)
    yield InProcess(TestClient(app), handler, model.name, loop)


def assert_same(got: Arrays, expected: Arrays) -> None:
    """Shape, dtype and every bit; of strings, the text, which typed contents hold as bytes."""
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert (got[name].shape, got[name].dtype) == (value.shape, value.dtype), name
        if value.dtype == object:
            assert [getattr(text, "decode", lambda t=text: t)() for text in got[name].flat] == [*value.flat], name
        else:
            np.testing.assert_array_equal(got[name], value, name)
