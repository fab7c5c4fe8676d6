"""The Open Inference Protocol over gRPC: `inference.GRPCInferenceService`, beside REST in the same process.

REST and gRPC share one predictor, and so its batches. `requests.py` limits, times and counts requests;
`interceptor.py` wraps calls; `stream.py` answers streams of requests; `server.py` starts and stops the
server.
"""

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from common.inference.predictor import Predictor
from common.open_inference.extensions import (
    EXTENSIONS,
    NOT_HERE_GRPC,
    SHARED_MEMORY,
    classify_output,
    model_config,
    model_statistics,
    not_supported,
    repository_index,
)
from common.open_inference.generated import open_inference_pb2 as pb
from common.open_inference.grpc.interceptor import (
    Handler,
    RequestInterceptor,
    method_handler,
    parser,
    serialize,
    with_current_call,
)
from common.open_inference.grpc.requests import Context, GrpcCall, RequestRunner
from common.open_inference.grpc.server import add_grpc_server
from common.open_inference.grpc.stream import InferStreams
from common.open_inference.grpc.stream_window import StreamWindow
from common.open_inference.rest import model_metadata
from common.open_inference.settings import GrpcSettings
from common.open_inference.tensor_check import TensorCheck
from common.open_inference.tensors_grpc import read_inputs, write_outputs
from common.service.body.long_work import LONG_BYTES, in_thread
from common.service.deadline import before_deadline
from common.service.problems import Problem
from common.service.service import Service

SERVICE = "inference.GRPCInferenceService"
INFER = f"/{SERVICE}/ModelInfer"
STREAM_INFER = f"/{SERVICE}/ModelStreamInfer"


def add_open_inference_grpc(
    app: Service,
    predictor: Predictor,
    settings: GrpcSettings,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> None:
    """Serve the protocol on GRPC_PORT while the app runs; `interceptors` see every call, health checks included."""
    methods = OpenInferenceGrpc(app, predictor)
    runner = RequestRunner(app, {INFER, STREAM_INFER})

    def window() -> StreamWindow:
        rows = min(2 * settings.max_batch_rows, settings.max_queue_rows)
        return StreamWindow(predictor, rows, settings.max_body_bytes)

    streams = InferStreams(runner, STREAM_INFER, with_current_call(methods.infer), window)
    handlers = WithUnsupported(methods.handlers(streams))
    all_interceptors = (RequestInterceptor(runner, SERVICE), *interceptors)
    add_grpc_server(app, settings, SERVICE, handlers, runner, streams, all_interceptors)


class WithUnsupported(grpc.GenericRpcHandler):
    """The methods that are there, and for those of an extension that is not, UNIMPLEMENTED with its name."""

    def __init__(self, methods: grpc.GenericRpcHandler) -> None:
        self._methods = methods

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """The method with this name, or None."""
        name = handler_call_details.method.removeprefix(f"/{SERVICE}/")
        missing = next((extension for prefix, extension in NOT_HERE_GRPC.items() if name.startswith(prefix)), None)
        if missing is None:
            return self._methods.service(handler_call_details)

        async def reject(request: bytes, context: Context) -> bytes:
            raise not_supported(missing)

        return grpc.unary_unary_rpc_method_handler(reject)


class OpenInferenceGrpc:
    """The protocol's methods for one model."""

    def __init__(self, app: Service, predictor: Predictor) -> None:
        self._app = app
        self._predictor = predictor
        self._model = predictor.model
        self._check = TensorCheck(predictor.model)

    def handlers(self, streams: InferStreams) -> grpc.GenericRpcHandler:
        """Each method by its name in `open_inference.proto`; the message `NAMERequest` is its request."""
        methods: dict[str, Callable[[Any, GrpcCall], Awaitable[Message]]] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self.infer,
            "RepositoryIndex": self._repository_index,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
        }
        limit = self._app.settings.max_body_bytes
        handlers = {
            name: method_handler(method, getattr(pb, f"{name}Request"), limit) for name, method in methods.items()
        }
        parse = parser(pb.ModelInferRequest, limit)
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(streams.handle, parse, serialize)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def infer(self, request: pb.ModelInferRequest, call: GrpcCall) -> pb.ModelInferResponse:
        """Decode, predict, encode."""
        started = monotonic()
        self._check_model(request.model_name, request.model_version)
        if any(SHARED_MEMORY in part.parameters for parts in (request.inputs, request.outputs) for part in parts):
            raise not_supported("system_shared_memory")
        is_long = request.ByteSize() >= LONG_BYTES
        if is_long:
            inputs = await before_deadline(call.deadline, in_thread(read_inputs, request, self._check))
        else:
            inputs = read_inputs(request, self._check)
        inputs, rows = self._check.complete(inputs)
        names = self._check.outputs(output.name for output in request.outputs)
        if "timeout" in request.parameters and (timeout := request.parameters["timeout"].int64_param) > 0:
            call.deadline = min(call.deadline, started + timeout / 1e6)
        call.timings["decode"] = monotonic() - started
        values = await self._predictor.predict(inputs, rows, call)
        outputs = {name: values[name] for name in names}
        for output in request.outputs:
            if "classification" in output.parameters:
                count = output.parameters["classification"].int64_param
                scores = outputs[output.name]
                outputs[output.name] = classify_output(output.name, scores, count, self._model.is_batched)
        response = pb.ModelInferResponse(model_name=self._model.name, model_version=self._model.version, id=request.id)
        raw = bool(request.raw_input_contents) or not request.inputs  # raw is what most clients read
        if sum([array.nbytes for array in outputs.values()]) >= LONG_BYTES:
            await in_thread(write_outputs, response, outputs, raw)
        else:
            write_outputs(response, outputs, raw)
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

    async def _repository_index(self, request: pb.RepositoryIndexRequest, call: GrpcCall) -> pb.RepositoryIndexResponse:
        ready = await self._app.is_ready()
        models = repository_index(self._predictor, ready) if ready or not request.ready else []
        return ParseDict({"models": models}, pb.RepositoryIndexResponse())

    async def _model_config(self, request: pb.ModelConfigRequest, call: GrpcCall) -> pb.ModelConfigResponse:
        self._check_model(request.name, request.version)
        return ParseDict({"config": model_config(self._predictor)}, pb.ModelConfigResponse())

    async def _model_statistics(self, request: pb.ModelStatisticsRequest, call: GrpcCall) -> pb.ModelStatisticsResponse:
        self._check_model(request.name or self._model.name, request.version)
        found = model_statistics(self._app, self._predictor)
        return ParseDict({"model_stats": [found]}, pb.ModelStatisticsResponse())

    def _check_model(self, name: str, version: str) -> None:
        if name != self._model.name or version not in ("", self._model.version):
            known = f"{self._model.name}, version {self._model.version}"
            raise Problem(404, f"expected the model {known}, got {name[:80]!r}, version {version[:80]!r}")
