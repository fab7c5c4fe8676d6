"""One service that serves one model after another on real sockets, REST through uvicorn and gRPC beside it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import grpc
import httpx
import uvicorn

from common.open_inference.grpc.interceptor import RequestInterceptor, with_current_call
from common.open_inference.grpc.requests import RequestRunner
from common.open_inference.grpc.server import add_grpc_server
from common.open_inference.grpc.service import INFER, SERVICE, STREAM_INFER, OpenInferenceGrpc
from common.open_inference.grpc.stream import InferStreams
from common.open_inference.grpc.stream_window import StreamWindow
from common.open_inference.settings import GrpcSettings
from tests.support.load.grpc_and_rest import inference_stub
from tests.support.open_inference.grpc_client import message, outputs_of
from tests.support.open_inference.in_process import outputs_in_binary
from tests.support.open_inference.rest_client import LENGTH, sized
from tests.support.open_inference.swapping import NAME, Swapping
from tests.support.open_inference.tensors import Arrays, from_json, in_binary, in_json
from tests.support.processes import free_port, listens, wait_until


class SwappingOnSockets(Swapping, grpc.GenericRpcHandler):
    """The methods of the model of the moment; streams of requests among them."""

    def __init__(self, http: httpx.Client, channel: grpc.Channel, grpc_port: int) -> None:
        super().__init__()
        self._http, self._stub = http, inference_stub(channel)
        self._methods: Any = None
        self._runner = RequestRunner(self.app, {INFER, STREAM_INFER})
        settings = GrpcSettings(grpc_port=grpc_port)
        unused: Any = None
        streams = InferStreams(self._runner, STREAM_INFER, unused, unused)
        interceptors = (RequestInterceptor(self._runner, SERVICE),)
        add_grpc_server(self.app, settings, SERVICE, self, self._runner, streams, interceptors)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._methods.service(handler_call_details)

    def serve(self, content: bytes) -> None:
        predictor = self.swap(content)
        methods = OpenInferenceGrpc(self.app, predictor)

        def window() -> StreamWindow:
            return StreamWindow(predictor, 64, self.settings.max_body_bytes)

        streams = InferStreams(self._runner, STREAM_INFER, with_current_call(methods.infer), window)
        self._methods = methods.handlers(streams)

    def infer(self, way: str, inputs: Arrays) -> Arrays:
        url = f"/v2/models/{NAME}/infer"
        if way == "grpc":
            return outputs_of(self._stub.ModelInfer(message(inputs, model=NAME), timeout=20))
        if way == "stream":
            (answer,) = self._stub.ModelStreamInfer(iter([message(inputs, model=NAME)]), timeout=20)
            assert not answer.error_message
            return outputs_of(answer.infer_response)
        if way == "json":
            return from_json(self._http.post(url, content=json.dumps(in_json(inputs))))
        text = json.dumps(sized(inputs, parameters={"binary_data_output": True})).encode()
        content = text + b"".join(in_binary(inputs))
        answer = self._http.post(url, content=content, headers={LENGTH: str(len(text))})
        assert answer.status_code == 200, answer.text
        return outputs_in_binary(answer.content, int(answer.headers[LENGTH])) if LENGTH in answer.headers else {}


@contextmanager
def swapping_on_sockets() -> Iterator[SwappingOnSockets]:
    port, grpc_port = free_port(), free_port()
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, verify=False) as http,
        grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
    ):
        service = SwappingOnSockets(http, channel, grpc_port)
        server = uvicorn.Server(uvicorn.Config(service.app, port=port, log_config=None))
        thread = Thread(target=server.run)
        thread.start()
        try:
            wait_until(lambda: listens(port) and listens(grpc_port))
            yield service
        finally:
            server.should_exit = True
            thread.join()
