"""The model inside a predictor's box: any ONNX file, loaded, warmed up, described, run on batches.

An invalid model raises `ModelError` at start: a file that is missing, broken, of another hash, or that cannot make one
prediction. Its one line says what to do.
"""

from typing import Self

from common.inference.cpu_quota import cpu_quota
from common.inference.model_file import ModelError, ModelFile, read_model_file
from common.inference.session import INPUT_ERRORS, Session, first_line
from common.inference.tensor_spec import Tensors
from common.inference.warm_up import run_in_batches, warm_up
from common.service.problems import Problem


class Model:
    """A loaded and warmed-up model, and what is known about it.

    `is_batched`: requests can share a run. `fixed_batch_size`: the rows of each run, if the graph fixes them (fewer are
    padded, more are split). `seconds_per_row`: what one row alone took once the model was warm.
    """

    def __init__(self, file: ModelFile, name: str | None = None, threads: int | None = None) -> None:
        self.name = name or file.name
        self.version = file.sha256[:12]
        self.threads = threads or cpu_quota()
        self._session = Session(file, self.threads)
        try:
            warm = warm_up(self._session.run, self._session.inputs)
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ModelError(f"the model {self.name} cannot predict ({first_line(error)}): export it again") from None
        self.is_batched = warm.is_batched
        self.fixed_batch_size = warm.fixed_batch_size
        self.seconds_per_row = warm.seconds_per_row
        self.inputs = self._session.inputs
        self.outputs = self._session.output_specs(warm.inputs, warm.outputs, warm.is_batched)

    @classmethod
    def load(
        cls,
        uri: str,
        sha256: str | None = None,
        name: str | None = None,
        threads: int | None = None,
        timeout_seconds: float = 30.0,
    ) -> Self:
        """Read, check and warm up the model at a path or an http(s) URL; raises `ModelError`."""
        return cls(read_model_file(uri, sha256, timeout_seconds), name, threads)

    def run(self, inputs: Tensors) -> Tensors:
        """Predict: `inputs` by name, n rows each; returns every output by name, n rows each.

        Raises `Problem` 422 for values that the model rejects: an index beyond its table, shapes that do not fit.
        """
        try:
            return run_in_batches(self._session.run, inputs, self.fixed_batch_size)
        except INPUT_ERRORS as error:
            raise Problem(422, f"the model {self.name} cannot process this input: {first_line(error)}") from None
