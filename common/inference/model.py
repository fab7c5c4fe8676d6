"""The model inside a predictor's box: any ONNX file, loaded, warmed up, described, run on batches.

A file that is missing, broken, of another hash, or that onnxruntime cannot load raises `ModelError` at start. Its one
line says what to do. A model that cannot be warmed up is served all the same, request by request.
"""

import logging
from pathlib import Path
from typing import Self

from common.inference.cpu_quota import cpu_quota
from common.inference.fixed_batches import run_in_batches
from common.inference.given_inputs import read_inputs
from common.inference.model_file import CONTROL_FLOW, DYNAMIC_QUANTIZATION, ModelFile, has_operator, read_model_file
from common.inference.proof.batch_proof import NotProved
from common.inference.session import INPUT_ERRORS, Session, first_line
from common.inference.tensor_spec import Tensors
from common.inference.warm_up import WarmUp, warm_up

logger = logging.getLogger(__name__)

QUANTIZED = "its dynamic quantization scales all rows by the largest value among them"
CONTROLLED = "its Loop or If may go on until all rows are done (BATCHING=on, or rows in WARM_UP that show it)"


class InvalidInput(ValueError):
    """The model rejects these values: an index beyond its table, shapes that do not fit."""


class Model:
    """A loaded model, warmed up where inputs for that were found, and what is known about it.

    `is_batched`: requests can share a run. `rows_are_independent`: the rows of one job can share one, too.
    `fixed_batch_size`: the rows of each run, if the graph fixes them (fewer are padded, more are split).
    `seconds_per_row`: what one row alone took once the model was warm; infinite if unknown. `elements_per_row`: how
    many input elements that row had. `batching`: how requests share runs (`WarmUp`).
    """

    def __init__(
        self,
        file: ModelFile,
        name: str | None = None,
        threads: int | None = None,
        *,
        batching: str = "auto",
        warm_up_file: Path | None = None,
        warm_up_seconds: float = 10.0,
        max_batch_rows: int = 64,
    ) -> None:
        self.name = name or file.name
        self.version = file.sha256[:12]
        self.threads = threads or cpu_quota()
        self._session = Session(file, self.threads)
        self.inputs = self._session.inputs
        warm = warm_up(
            self._session.run,
            self.inputs,
            batching=batching,
            given=read_inputs(warm_up_file, self.inputs) if warm_up_file else None,
            seconds=warm_up_seconds,
            most_rows=max_batch_rows,
            mixes_rows=_mixes_rows(file, warm_up_file is not None) if batching == "auto" else "",
        )
        self.batching = warm.batching
        self.is_batched = warm.is_batched
        self.rows_are_independent = warm.rows_are_independent
        self.is_warmed_up = warm.inputs is not None
        self.fixed_batch_size = warm.fixed_batch_size
        self.seconds_per_row = warm.seconds_per_row
        self.elements_per_row = sum(value.size for value in (warm.inputs or {}).values())
        self.outputs = self._session.output_specs(warm.inputs, warm.outputs, warm.is_batched)
        self._log(warm)

    @classmethod
    def load(
        cls,
        uri: str,
        sha256: str | None = None,
        name: str | None = None,
        threads: int | None = None,
        timeout_seconds: float = 30.0,
        *,
        batching: str = "auto",
        warm_up_file: Path | None = None,
        warm_up_seconds: float = 10.0,
        max_batch_rows: int = 64,
    ) -> Self:
        """Read, check and warm up the model at a path or an http(s) URL; raises `ModelError`."""
        file = read_model_file(uri, sha256, timeout_seconds)
        return cls(
            file,
            name,
            threads,
            batching=batching,
            warm_up_file=warm_up_file,
            warm_up_seconds=warm_up_seconds,
            max_batch_rows=max_batch_rows,
        )

    def run(self, inputs: Tensors) -> Tensors:
        """Predict: `inputs` by name, n rows each; returns every output by name, n rows each.

        Raises `InvalidInput`.
        """
        try:
            return run_in_batches(self._session.run, inputs, self.fixed_batch_size)
        except (*INPUT_ERRORS, NotProved) as error:
            raise InvalidInput(f"the model {self.name} cannot process this input: {first_line(error)}") from None

    def _log(self, warm: WarmUp) -> None:
        """One line if requests do not share runs, since that costs throughput, or if there was no warm-up."""
        reason = " ".join(warm.reason.split())[:300]
        if not self.is_batched:
            level = logging.INFO if self.rows_are_independent else logging.WARNING
            state = "" if self.is_warmed_up else "is not warmed up and "
            logger.log(level, "the model %s %sruns request by request: %s", self.name, state, reason)
        elif not self.is_warmed_up:
            logger.warning("the model %s is not warmed up: %s", self.name, reason)


def _mixes_rows(file: ModelFile, has_given_rows: bool) -> str:
    """What of the graph makes rows depend on each other, or may; guessed rows do not show it."""
    if has_operator(file, DYNAMIC_QUANTIZATION):
        return QUANTIZED
    return CONTROLLED if not has_given_rows and has_operator(file, CONTROL_FLOW) else ""
