"""The Open Inference Protocol (KServe v2) over REST, for any ONNX model: `tritonclient` and `kserve` can call it.

One process serves one model, so each path is known when the service starts. Whatever is wrong with a request is a 4xx
with `{"error": …}`. https://github.com/kserve/open-inference-protocol
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from common.inference.predictor import Predictor
from common.inference.tensor_spec import Tensors
from common.open_inference.datatypes import metadata
from common.open_inference.extensions import (
    EXTENSIONS,
    NOT_HERE,
    classify_output,
    model_config,
    model_statistics,
    not_supported,
    repository_index,
)
from common.open_inference.request_schema import InferRequest
from common.open_inference.response_schema import (
    Error,
    Health,
    IndexedModel,
    InferResponse,
    ModelConfig,
    ModelMetadata,
    ModelReady,
    ModelStatistics,
    ServerMetadata,
)
from common.open_inference.rest_body import HEADER_LENGTH, choose_bytes, read_inputs, read_request, write_response
from common.open_inference.tensor_check import TensorCheck
from common.service.body.compression import WORTHWHILE_BYTES, deflate
from common.service.body.long_work import LONG_BYTES, in_thread
from common.service.body.reading import read_body
from common.service.deadline import before_deadline
from common.service.lean_route import LeanRoute
from common.service.problems import Problem
from common.service.request_context import header, request_context
from common.service.responses import BINARY, json_errors, request_body
from common.service.root_path import local_path
from common.service.service import Service

PLATFORM = "onnx_onnxv1"
NOT_FOUND = "Not Found"
"""What Starlette says where no route fits."""
OCTETS = "application/octet-stream"
LENGTH = HEADER_LENGTH.lower().encode()


def add_open_inference(app: Service, predictor: Predictor) -> None:
    """Serve the protocol under `/v2`, errors in its own form."""
    model = predictor.model

    def to_v2_error(request: Request, problem: Problem) -> Response:
        detail: object = problem.detail
        if problem.status_code in (404, 405):
            path = local_path(request.scope)
            if missing := next((name for part, name in NOT_HERE.items() if part in path), ""):
                return _json({"error": not_supported(missing).detail}, 501)
        if problem.status_code == 404 and detail == NOT_FOUND:  # such as a path with another model's name or version
            known = f"{model.name}, version {model.version}"
            detail = f"{request.scope['path'][:80]} is not here: this server has the model {known}"
        text = (
            detail if isinstance(detail, str) else to_json(detail, fallback=str, inf_nan_mode="null").decode()
        )  # the protocol's `error` is a string
        return _json({"error": text}, problem.status_code, problem.headers)

    app.problem_renderers["/v2"] = to_v2_error
    app.include_router(server_router(app, predictor))
    for path in (f"/v2/models/{model.name}", f"/v2/models/{model.name}/versions/{model.version}"):
        app.include_router(model_router(app, predictor), prefix=path)


def server_router(app: Service, predictor: Predictor) -> APIRouter:
    """What the protocol says of a server."""
    router = APIRouter(prefix="/v2", route_class=LeanRoute, responses=json_errors(Error, 503))

    @router.get("", response_model=ServerMetadata)
    async def server_metadata(request: Request) -> Response:
        """Name, version and extensions of the server."""
        return _json({"name": app.title, "version": app.version, "extensions": EXTENSIONS})

    @router.get("/health/live", response_model=Health)
    async def server_live(request: Request) -> Response:
        """Does the process answer?"""
        return _json({"live": True, "ready": await app.is_ready()})

    @router.get("/health/ready", response_model=Health)
    async def server_ready(request: Request) -> Response:
        """May requests be sent here? The specification asks for `live`, clients read `ready`: the answer has both."""
        ready = await app.is_ready()
        return _json({"live": True, "ready": ready}, 200 if ready else 503)

    @router.post("/repository/index", response_model=list[IndexedModel])
    async def index_repository(request: Request) -> Response:
        """The models of this server: one."""
        return _json(repository_index(predictor, await app.is_ready()))

    @router.get("/models/stats", response_model=ModelStatistics)
    async def describe_all_statistics(request: Request) -> Response:
        """What the model has done since the start."""
        return _json({"model_stats": [model_statistics(app, predictor)]})

    return router


def model_router(app: Service, predictor: Predictor) -> APIRouter:
    """What the protocol says of a model, and its predictions."""
    router = APIRouter(route_class=LeanRoute)
    model = predictor.model

    @router.get("", response_model=ModelMetadata)
    async def describe_model(request: Request) -> Response:
        """What the model takes and gives, read from its graph."""
        return _json(model_metadata(predictor))

    @router.get("/config", response_model=ModelConfig)
    async def describe_config(request: Request) -> Response:
        """The model's configuration in Triton's form."""
        return _json(model_config(predictor))

    @router.get("/stats", response_model=ModelStatistics)
    async def describe_statistics(request: Request) -> Response:
        """What the model has done since the start."""
        return _json({"model_stats": [model_statistics(app, predictor)]})

    @router.get("/ready", response_model=ModelReady, responses=json_errors(Error, 503))
    async def model_ready(request: Request) -> Response:
        """Can the model predict? One that cannot be loaded ends the process, so it is ready when the service is."""
        ready = await app.is_ready()
        return _json({"name": model.name, "ready": ready}, 200 if ready else 503)

    router.post(
        "/infer",
        response_model=InferResponse,
        responses={
            200: {"content": {OCTETS: BINARY}},
            **json_errors(Error, 400, 405, 408, 413, 415, 422, 500, 503, 504),
        },
        openapi_extra=request_body(InferRequest, OCTETS),
    )(infer_endpoint(predictor))
    return router


def infer_endpoint(predictor: Predictor) -> Callable[[Request], Awaitable[Response]]:
    """The handler of a model's predictions."""
    model = predictor.model
    check = TensorCheck(model)

    def decode(body: bytes, header_length: str | None) -> tuple[InferRequest, Tensors, int | None]:
        wanted, binary = read_request(body, header_length, check.lists_per_element)
        return wanted, *check.complete(read_inputs(wanted, binary, check))

    async def infer(request: Request) -> Response:
        """Tensors in, tensors out; bodies may be compressed (gzip, deflate).

        With the header `Inference-Header-Content-Length`, tensors follow the JSON as bytes.
        """
        context = request_context(request)
        body = await read_body(request)
        started = monotonic()
        is_long, length = len(body) >= LONG_BYTES, header(request, LENGTH)
        if is_long:
            wanted, inputs, rows = await before_deadline(context.deadline, in_thread(decode, body, length))
        else:
            wanted, inputs, rows = decode(body, length)
        names = check.outputs(output.name for output in wanted.outputs)
        if wanted.parameters and wanted.parameters.timeout:
            context.deadline = min(context.deadline, started + wanted.parameters.timeout / 1e6)
        context.timings["decode"] = monotonic() - started
        values = await predictor.predict(inputs, rows, context)
        outputs = {name: values[name] for name in names}
        for output in wanted.outputs:
            if output.classification:
                scores, count = outputs[output.name], output.classification
                outputs[output.name] = classify_output(output.name, scores, count, model.is_batched)
        as_bytes = choose_bytes(wanted, len(outputs))
        if sum([array.nbytes for array in outputs.values()]) >= LONG_BYTES:
            response = await in_thread(write_response, model, outputs, as_bytes, wanted.id)
        else:
            response = write_response(model, outputs, as_bytes, wanted.id)
        if accepted := header(request, b"accept-encoding"):
            await _compress(response, accepted)
        return response

    return infer


def model_metadata(predictor: Predictor) -> dict[str, Any]:
    """What the protocol says of a model, over REST and gRPC."""
    model = predictor.model
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": metadata(model.inputs, model.is_batched),
        "outputs": metadata(model.outputs, model.is_batched),
        "parameters": {"batching": model.batching, "warmed_up": model.is_warmed_up},
    }


async def _compress(response: Response, accepted: str) -> None:
    if len(response.body) < WORTHWHILE_BYTES:
        return
    response.body, headers = await asyncio.to_thread(deflate, bytes(response.body), accepted)
    response.headers.update({"Content-Length": str(len(response.body)), **headers})


def _json(document: object, status: int = 200, headers: Any = None) -> Response:
    return Response(to_json(document), status, headers, "application/json")
