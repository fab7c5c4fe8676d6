"""The Open Inference Protocol (KServe v2) over REST, for any ONNX model: `tritonclient` and `kserve` can ask it.

One process serves one model, so each path is known when the service starts. Whatever is wrong with a request is a 4xx
with `{"error": …}`. https://github.com/kserve/open-inference-protocol
"""

import asyncio
from time import monotonic
from typing import Any

from fastapi import Response
from pydantic_core import to_json

from common.inference.predictor import Predictor
from common.open_inference.compression import WORTHWHILE_BYTES, deflate, inflate
from common.open_inference.datatypes import metadata
from common.open_inference.rest_body import read_inputs, read_request, wanted_as_bytes, write_reply
from common.open_inference.schema import Error, InferRequest, InferResponse
from common.open_inference.tensor_check import TensorCheck
from common.service.openapi import Operation
from common.service.problems import Problem
from common.service.request_context import Call, Endpoint, Reply
from common.service.service import Service

PLATFORM = "onnx_onnxv1"
EXTENSIONS = ["binary_tensor_data"]


INFER = Operation(
    summary="Predict",
    description="Tensors in, tensors out; bodies may be compressed (gzip, deflate). With the header "
    "`Inference-Header-Content-Length`, tensors follow the JSON as bytes.",
    json_body=InferRequest,
    binary_bodies=("application/octet-stream",),
    response=InferResponse,
    binary_responses=("application/octet-stream",),
    problems=(400, 405, 408, 413, 415, 422, 500, 503, 504),
    error=Error,
)


def add_open_inference(app: Service, predictor: Predictor) -> None:
    """Serve the protocol under `/v2`."""
    protocol = OpenInference(app, predictor)
    model = f"/v2/models/{predictor.model.name}"
    _add(app, "/v2", protocol.server, "What is this server?")
    _add(app, "/v2/health/live", protocol.live, "Does the process answer?")
    _add(app, "/v2/health/ready", protocol.ready, "May requests be sent here?")
    for path in (model, f"{model}/versions/{predictor.model.version}"):
        _add(app, path, protocol.model, "What does the model take, and what does it give?")
        _add(app, f"{path}/ready", protocol.model_ready, "Can the model predict?")
        app.add_endpoint("POST", f"{path}/infer", protocol.infer, INFER, refuse)
    app.add_api_route("/v2/{rest:path}", protocol.unknown, methods=["GET", "POST"], include_in_schema=False)


def refuse(problem: Problem) -> Reply:
    """A problem in the protocol's own form."""
    return Reply(to_json({"error": problem.detail}), problem.status_code, headers=problem.headers or {})


def _add(app: Service, path: str, endpoint: Endpoint, summary: str) -> None:
    app.add_endpoint("GET", path, endpoint, Operation(summary, dict[str, Any], problems=(503,), error=Error), refuse)


class OpenInference:
    """The endpoints of the protocol for one model."""

    def __init__(self, app: Service, predictor: Predictor) -> None:
        self._app = app
        self._predictor = predictor
        self._model = predictor.model
        self._check = TensorCheck(predictor.model)

    async def infer(self, call: Call) -> Reply:
        """Decode, predict, encode."""
        body = await call.body()
        if encoding := call.headers.get(b"content-encoding"):
            body = await asyncio.to_thread(inflate, body, encoding.decode("latin-1").lower(), call.max_body_bytes)
        started = monotonic()
        request, binary = read_request(body, call.headers.get(b"inference-header-content-length"))
        inputs, rows = self._check.complete(read_inputs(request, binary, self._check))
        names = self._check.outputs(output.name for output in request.outputs)
        if request.parameters and request.parameters.timeout:
            call.deadline = min(call.deadline, started + request.parameters.timeout / 1e6)
        call.timings["decode"] = monotonic() - started
        values = await self._predictor.predict(inputs, rows, call)
        outputs = {name: values[name] for name in names}
        reply = write_reply(self._model, outputs, wanted_as_bytes(request, len(outputs)), request.id)
        if accepted := call.headers.get(b"accept-encoding"):
            return await _compressed(reply, accepted)
        return reply

    async def server(self, _: Call) -> Reply:
        """Name, version and extensions of the server."""
        return Reply(to_json({"name": self._app.title, "version": self._app.version, "extensions": EXTENSIONS}))

    async def live(self, _: Call) -> Reply:
        """Always, if it gets as far as this."""
        return Reply(to_json({"live": True, "ready": await self._app.is_ready()}))

    async def ready(self, _: Call) -> Reply:
        """With both keys: the specification asks for `live`, clients look for `ready`."""
        ready = await self._app.is_ready()
        return Reply(to_json({"live": True, "ready": ready}), 200 if ready else 503)

    async def model(self, _: Call) -> Reply:
        """The model's metadata, read from its graph."""
        return Reply(to_json(model_metadata(self._predictor)))

    async def model_ready(self, _: Call) -> Reply:
        """A model that cannot predict ends the process at start, so it is ready whenever the service is."""
        ready = await self._app.is_ready()
        return Reply(to_json({"name": self._model.name, "ready": ready}), 200 if ready else 503)

    async def unknown(self, rest: str) -> Response:
        """Any other path, such as one with another model's name or version."""
        known = f"{self._model.name}, version {self._model.version}"
        problem = Problem(404, f"/v2/{rest[:80]} is not here: this server has the model {known}")
        return Response(refuse(problem).body, problem.status_code, media_type="application/json")


def model_metadata(predictor: Predictor) -> dict[str, Any]:
    """What the protocol tells of a model, over REST and gRPC."""
    model = predictor.model
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": metadata(model.inputs, bool(model.batch)),
        "outputs": metadata(model.outputs, bool(model.batch)),
    }


async def _compressed(reply: Reply, accepted: bytes) -> Reply:
    if len(reply.body) < WORTHWHILE_BYTES:
        return reply
    body, headers = await asyncio.to_thread(deflate, reply.body, accepted.decode("latin-1"))
    return reply._replace(body=body, headers={**reply.headers, **headers})
