"""One service in this process that serves one model after another: its routes take longer to build than to ask."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.testclient import TestClient

from common.inference.model import Model
from common.inference.model_file import ModelFile
from common.inference.predictor import Predictor
from common.open_inference.generated import open_inference_pb2 as pb
from common.open_inference.grpc.interceptor import method_handler
from common.open_inference.grpc.service import OpenInferenceGrpc
from common.open_inference.rest import infer_endpoint
from common.open_inference.settings import GrpcSettings
from common.service.lean_route import LeanRoute
from common.service.service import Service
from common.telemetry.metrics import ServiceMetrics
from tests.support.open_inference.in_process import InProcess

NAME = "case"
WARM_UP_SECONDS = 0.3


class Swapping:
    """The service, its client, and the model that it serves at the moment."""

    def __init__(self) -> None:
        self.settings = GrpcSettings(grpc_port=0, log_level="ERROR", request_timeout_ms=30_000)
        self.app = Service("test", self.settings)
        self._infer: Any = None
        router = APIRouter(route_class=LeanRoute)

        @router.post(f"/v2/models/{NAME}/infer", response_model=None)
        async def infer(request: Request) -> Response:
            response: Response = await self._infer(request)
            return response

        self.app.include_router(router)

    def swap(self, content: bytes) -> Predictor:
        """Serve this ONNX file from now on; raises `ModelError`."""
        file = ModelFile(NAME, content, sha256(content).hexdigest())
        model = Model(file, threads=1, warm_up_seconds=WARM_UP_SECONDS)
        predictor = Predictor(model, self.settings, ServiceMetrics())
        self._infer = infer_endpoint(predictor)
        return predictor


class SwappingInProcess(Swapping):
    """Asked through TestClient, and through gRPC's handler in this event loop."""

    def __init__(self, client: TestClient, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._client, self._loop = client, loop

    def serve(self, content: bytes) -> InProcess:
        """The same as `swap`, and a way to ask."""
        methods = OpenInferenceGrpc(self.app, self.swap(content))
        handler = method_handler(methods.infer, pb.ModelInferRequest, self.settings.max_body_bytes)
        return InProcess(self._client, handler, NAME, self._loop)


@contextmanager
def swapping_in_process() -> Iterator[SwappingInProcess]:
    loop = asyncio.new_event_loop()
    client: Any = None
    service = SwappingInProcess(client, loop)
    with TestClient(service.app) as service._client:
        yield service
    loop.close()
