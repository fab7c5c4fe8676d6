"""What Triton's clients ask of a server besides the protocol: its models, their configuration, their statistics.

Each answer is a dict with Triton's names, for REST and gRPC alike. What a server of one model has no use for, shared
memory, loading and unloading, traces, log settings, is listed in `NOT_HERE`. `ModelStreamInfer` has no name among
Triton's extensions; it is in `grpc/stream.py`.
https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.inference.predictor import Predictor
from common.inference.tensor_spec import TensorSpec
from common.open_inference.datatypes import BYTES, datatype
from common.service.problems import Problem
from common.service.service import Service

EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"]
INFERENCE = ("/infer", "/ModelInfer", "/ModelStreamInfer")
"""How the paths end that predict, in the metrics."""
NOT_HERE = {
    "/systemsharedmemory": "system_shared_memory",
    "/cudasharedmemory": "cuda_shared_memory",
    "/repository/models/": "loading and unloading models (extension model_repository)",
    "/trace/setting": "trace",
    "/logging": "logging",
}
"""By a part of its paths: the extension that is not there."""
NOT_HERE_GRPC = {
    "SystemSharedMemory": "system_shared_memory",
    "CudaSharedMemory": "cuda_shared_memory",
    "RepositoryModel": "loading and unloading models (extension model_repository)",
    "TraceSetting": "trace",
    "LogSettings": "logging",
}
"""The same, by the beginning of the method's name."""
SHARED_MEMORY = "shared_memory_region"
"""The parameter of a tensor that is in shared memory, system's or CUDA's."""


def not_supported(extension: str) -> Problem:
    """What is said of an extension that is not there."""
    return Problem(501, f"this server has one model, and not the extension: {extension}")


def repository_index(predictor: Predictor, ready: bool) -> list[dict[str, Any]]:
    """The one model, and whether it can predict."""
    model = predictor.model
    return [{"name": model.name, "version": model.version, "state": "READY" if ready else "UNAVAILABLE", "reason": ""}]


def model_config(predictor: Predictor) -> dict[str, Any]:
    """The part of Triton's configuration that an ONNX file has; `dims` are without the axis that counts rows."""
    model = predictor.model
    return {
        "name": model.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": predictor.max_batch_rows if model.is_batched else 0,
        "input": [_tensor(spec, model.is_batched) for spec in model.inputs],
        "output": [_tensor(spec, model.is_batched) for spec in model.outputs],
    }


def model_statistics(app: Service, predictor: Predictor) -> dict[str, Any]:
    """Counts and times since the start, from the metrics; without what is not measured.

    `inference_count` is rows and `execution_count` batches, however the model was asked; `success` and `fail` are
    requests to the protocol's inference. Times are in nanoseconds.
    """
    samples = [sample for family in app.metrics.registry.collect() for sample in family.samples]

    def of_batches(name: str) -> float:
        return sum(sample.value for sample in samples if sample.name == name)

    requests: dict[bool, float] = {True: 0, False: 0}
    for sample in samples:
        if sample.name == "http_requests_total" and sample.labels["path"].endswith(INFERENCE):
            requests[sample.labels["status"] == "200"] += sample.value
    batches = int(of_batches("batch_rows_count"))
    return {
        "name": predictor.model.name,
        "version": predictor.model.version,
        "inference_count": int(of_batches("batch_rows_sum")),
        "execution_count": batches,
        "inference_stats": {
            "success": {"count": int(requests[True])},
            "fail": {"count": int(requests[False])},
            "queue": {"count": batches, "ns": int(1e9 * of_batches("queue_wait_seconds_sum"))},
            "compute_infer": {"count": batches, "ns": int(1e9 * of_batches("batch_run_seconds_sum"))},
        },
    }


def classify_output(name: str, values: NDArray[Any], count: int, is_batched: bool) -> NDArray[np.object_]:
    """The `count` largest scores along the last axis as strings `SCORE:INDEX`, the largest first.

    `is_batched`: the first axis counts rows. Raises `Problem` 400 for an output that has no scores, or one value for
    each row, and for a count below 1, which gRPC's messages allow.
    """
    if count < 1:
        raise Problem(400, f"output {name}: expected a classification of 1 or more, got {count}")
    if values.dtype.kind not in "iuf" or not values.ndim:
        raise Problem(400, f"output {name}: expected scores to classify, got {datatype(values.dtype)}")
    if is_batched and values.ndim == 1:
        raise Problem(400, f"output {name}: expected an axis of scores to classify, got one value for each row")
    order = np.argsort(values, axis=-1, kind="stable")[..., ::-1][..., :count]
    scores = np.take_along_axis(values, order, axis=-1)
    texts = [f"{score:f}:{index}" for score, index in zip(scores.ravel().tolist(), order.ravel().tolist(), strict=True)]
    return np.array(texts, object).reshape(order.shape)


def _tensor(spec: TensorSpec, is_batched: bool) -> dict[str, Any]:
    name = datatype(spec.dtype)
    dims = list(spec.shape[1:] if is_batched else spec.shape)
    return {"name": spec.name, "data_type": "TYPE_STRING" if name == BYTES else f"TYPE_{name}", "dims": dims}
