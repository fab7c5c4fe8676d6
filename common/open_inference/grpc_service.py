"""The Open Inference Protocol over gRPC: `inference.GRPCInferenceService`, beside REST in the same process.

REST and gRPC share one predictor, and so its batches. `grpc_interceptor.py` limits, times and counts calls and turns
errors into statuses; `grpc_server.py` starts and stops the server.
"""

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any

import grpc
from google.protobuf.message import Message

from common.inference.predictor import Predictor
from common.open_inference.generated import open_inference_pb2 as pb
from common.open_inference.grpc_interceptor import GrpcCall, RequestInterceptor, method_handler
from common.open_inference.grpc_server import add_grpc_server
from common.open_inference.rest import EXTENSIONS, model_metadata
from common.open_inference.settings import GrpcSettings
from common.open_inference.tensor_check import TensorCheck
from common.open_inference.tensors_grpc import read_inputs, write_outputs
from common.service.problems import Problem
from common.service.service import Service

SERVICE = "inference.GRPCInferenceService"
INFER = f"/{SERVICE}/ModelInfer"


def add_open_inference_grpc(
    app: Service,
    predictor: Predictor,
    settings: GrpcSettings,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> None:
    """Serve the protocol on GRPC_PORT while the app runs; `interceptors` see every call, health checks included."""
    handlers = OpenInferenceGrpc(app, predictor).handlers()
    add_grpc_server(app, settings, SERVICE, handlers, RequestInterceptor(app, SERVICE, {INFER}), interceptors)


class OpenInferenceGrpc:
    """The protocol's methods for one model."""

    def __init__(self, app: Service, predictor: Predictor) -> None:
        self._app = app
        self._predictor = predictor
        self._model = predictor.model
        self._check = TensorCheck(predictor.model)

    def handlers(self) -> grpc.GenericRpcHandler:
        """Each method by its name in `open_inference.proto`; the message `NAMERequest` is its request."""
        methods: dict[str, Callable[[Any, GrpcCall], Awaitable[Message]]] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
        }
        limit = self._app.settings.max_body_bytes
        handlers = {
            name: method_handler(method, getattr(pb, f"{name}Request"), limit) for name, method in methods.items()
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def _infer(self, request: pb.ModelInferRequest, call: GrpcCall) -> pb.ModelInferResponse:
        """Decode, predict, encode."""
        started = monotonic()
        self._check_model(request.model_name, request.model_version)
        inputs, rows = self._check.complete(read_inputs(request, self._check))
        names = self._check.outputs(output.name for output in request.outputs)
        if "timeout" in request.parameters and (timeout := request.parameters["timeout"].int64_param) > 0:
            call.deadline = min(call.deadline, started + timeout / 1e6)
        call.timings["decode"] = monotonic() - started
        outputs = await self._predictor.predict(inputs, rows, call)
        response = pb.ModelInferResponse(model_name=self._model.name, model_version=self._model.version, id=request.id)
        write_outputs(response, {name: outputs[name] for name in names}, bool(request.raw_input_contents))
        return response

    async def _live(self, request: Message, call: GrpcCall) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _ready(self, request: Message, call: GrpcCall) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=await self._app.is_ready())

    async def _model_ready(self, request: pb.ModelReadyRequest, call: GrpcCall) -> pb.ModelReadyResponse:
        self._check_model(request.name, request.version)
        return pb.ModelReadyResponse(ready=await self._app.is_ready())

    async def _metadata(self, request: Message, call: GrpcCall) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name=self._app.title, version=self._app.version, extensions=EXTENSIONS)

    async def _model_metadata(self, request: pb.ModelMetadataRequest, call: GrpcCall) -> pb.ModelMetadataResponse:
        self._check_model(request.name, request.version)
        fields: dict[str, Any] = model_metadata(self._predictor)
        batching, warmed_up = fields.pop("parameters").values()
        response = pb.ModelMetadataResponse(**fields)
        response.parameters["batching"].string_param = batching
        response.parameters["warmed_up"].bool_param = warmed_up
        return response

    def _check_model(self, name: str, version: str) -> None:
        if name != self._model.name or version not in ("", self._model.version):
            known = f"{self._model.name}, version {self._model.version}"
            raise Problem(404, f"expected the model {known}, got {name[:80]!r}, version {version[:80]!r}")
