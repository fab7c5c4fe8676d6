"""The box that holds a model: a batch of rows in, its outputs back, within the caller's deadline.

It serves any ONNX model behind any endpoint: `/predict`, the Open Inference Protocol, gRPC, a queue. A model that
cannot be served ends the process at start.
"""

from collections.abc import Hashable
from typing import Protocol

from common.inference.batcher import Batcher
from common.inference.metrics import PredictorMetrics
from common.inference.model import Model
from common.inference.model_file import ModelError
from common.inference.settings import ModelSettings
from common.inference.tensor_spec import ANY, Tensors
from common.telemetry.metrics import ServiceMetrics

THREAD_HOP_SECONDS = 38e-6
"""What it costs to run something in a worker thread and come back (measured: 24 to 38 µs)."""
MAX_LOOP_BLOCK_SECONDS = 5e-3
"""How long a batch may block the event loop, and with it the health checks."""


def load_model(settings: ModelSettings) -> Model:
    """The model of MODEL_URI; a model that cannot be served ends the process with one line that says why."""
    try:
        return Model.load(
            settings.model_uri,
            settings.model_sha256,
            settings.model_name,
            settings.model_threads,
            settings.model_download_timeout_seconds,
        )
    except ModelError as error:
        raise SystemExit(f"cannot start: {error}") from None


class Context(Protocol):
    """The request for which rows are predicted: a `RequestContext`, a gRPC call, or a job's stand-in."""

    deadline: float
    timings: dict[str, float]

    def client_disconnected(self) -> bool:
        """Whether the client no longer waits for the answer."""
        ...


class Predictor:
    """A model and the batches that its callers share."""

    def __init__(self, model: Model, settings: ModelSettings, metrics: ServiceMetrics) -> None:
        self.model = model
        self.inline = (
            model.seconds_per_row < THREAD_HOP_SECONDS
            and model.seconds_per_row * settings.max_batch_rows < MAX_LOOP_BLOCK_SECONDS
        )
        model_metrics = PredictorMetrics(metrics.registry, model.name, model.version)
        self._batcher = Batcher(
            model.run,
            max_batch_rows=settings.max_batch_rows,
            max_queue_rows=settings.max_queue_rows,
            inline=self.inline,
            on_batch=model_metrics.record_batch,
        )
        model_metrics.queue.set_function(lambda: self._batcher.queued_rows)
        self._has_free_axes = any(ANY in spec.shape[1:] for spec in model.inputs)

    async def predict(self, inputs: Tensors, rows: int, context: Context) -> Tensors:
        """Every output for `rows` rows of every input, in order; raises what `Batcher.submit` raises."""
        prediction = await self._batcher.submit(
            inputs, rows, context.deadline, self._batch_key(inputs), context.client_disconnected
        )
        context.timings["queue"], context.timings["predict"] = prediction.waited, prediction.ran
        return prediction.outputs

    def _batch_key(self, inputs: Tensors) -> Hashable:
        """Rows of different shapes cannot share a batch, nor can requests to a model without a batch axis."""
        if not self.model.is_batched:
            return object()
        return tuple([value.shape[1:] for value in inputs.values()]) if self._has_free_axes else None
