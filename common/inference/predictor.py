"""The box that holds a model: a batch of rows in, its outputs back, within the caller's deadline.

It serves any ONNX model behind any endpoint: `/predict`, the Open Inference Protocol, gRPC, a queue. A model that
cannot be served ends the process at start.
"""

from collections.abc import Hashable
from typing import Protocol

from common.inference.batcher import Batcher
from common.inference.entries import ALONE
from common.inference.inline import MAX_LOOP_BLOCK_SECONDS, inline_elements
from common.inference.metrics import PredictorMetrics
from common.inference.model import InvalidInput, Model
from common.inference.model_file import ModelError
from common.inference.settings import ModelSettings
from common.inference.tensor_spec import ANY, Tensors
from common.service.problems import Problem
from common.telemetry.log_format import configure_logging
from common.telemetry.metrics import ServiceMetrics

MAX_TURN_SECONDS = 2e-3
"""How long requests that share no run keep the worker thread in one turn; the first waits for the last."""


def load_model(settings: ModelSettings) -> Model:
    """The model of MODEL_URI; a model that cannot be served ends the process with one line that says why."""
    configure_logging(settings.log_level, settings.log_format, "model")  # no `Service` has done so yet
    try:
        return Model.load(
            settings.model_uri,
            settings.model_sha256,
            settings.model_name,
            settings.model_threads,
            settings.model_download_timeout_seconds,
            batching=settings.batching,
            warm_up_file=settings.warm_up,
            warm_up_seconds=settings.warm_up_seconds,
            max_batch_rows=settings.max_batch_rows,
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
        self.max_batch_rows = settings.max_batch_rows
        model_metrics = PredictorMetrics(metrics.registry, model.name, model.version)
        self._batcher = Batcher(
            model.run,
            max_batch_rows=settings.max_batch_rows,
            max_queue_rows=settings.max_queue_rows,
            inline_elements=inline_elements(model),
            inline_seconds=MAX_LOOP_BLOCK_SECONDS,
            turn_elements=MAX_TURN_SECONDS / model.seconds_per_row * model.elements_per_row,
            on_batch=model_metrics.record_batch,
        )
        model_metrics.queue.set_function(lambda: self._batcher.queued_rows)
        self._has_free_axes = any(ANY in spec.shape[1:] for spec in model.inputs)

    async def predict(self, inputs: Tensors, rows: int | None, context: Context) -> Tensors:
        """Every output for `rows` rows of every input, in order; a model that is not batched runs them together, alone.

        Inputs with different numbers of rows (None) run alone too: the model may broadcast them, or reject them.
        Raises what `Batcher.submit` raises, and `Problem` 422 for values that the model rejects.
        """
        key = self._batch_key(inputs, rows)
        if rows is None or not self.model.is_batched:
            rows = 1  # of the queue: a request is never split
        try:
            prediction = await self._batcher.submit(inputs, rows, context.deadline, key, context.client_disconnected)
        except InvalidInput as error:
            raise Problem(422, str(error)) from None
        context.timings["queue"], context.timings["predict"] = prediction.waited, prediction.ran
        return prediction.outputs

    def _batch_key(self, inputs: Tensors, rows: int | None) -> Hashable:
        """Rows of different shapes cannot share a batch; requests to a model that is not batched run alone."""
        if not rows or not self.model.is_batched:
            return ALONE
        return tuple([value.shape[1:] for value in inputs.values()]) if self._has_free_axes else None
