"""The model inside a predictor's box: any ONNX file, loaded, warmed up, described, run on batches.

It fails at start or not at all: a file that is missing, broken, of another hash, or that cannot make one prediction
raises `ModelError`, whose one line says what to do.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from common.inference.cpu_quota import cpu_quota
from common.inference.model_file import ModelError, ModelFile, read_model_file
from common.inference.session import open_session, reason
from common.service.problems import Problem

Tensors = dict[str, NDArray[Any]]
"""Arrays by the name of a model's input or output; their first axis counts the rows."""

ANY = -1
NO_BATCH = 0
REFUSED = (InvalidArgument, Fail, RuntimeException)
"""How onnxruntime refuses values; the graph did run when it was warmed up, so it is these that do not fit it."""


class TensorSpec(NamedTuple):
    """One input or output: name, numpy dtype, and shape with -1 for an axis of any length.

    `labels` names the columns of an output that the graph gives as a list of maps (ZipMap); else it is empty.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    labels: tuple[str | int, ...] = ()


class Model:
    """One onnxruntime session and what its graph says of itself.

    `batch` is how many rows one run takes: -1 any number, N exactly N (fewer are padded, more are split), 0 where
    the first axis does not count rows, so that requests cannot share a run. `seconds_per_row` is what one row alone
    took once the model was warm.
    """

    def __init__(self, file: ModelFile, name: str | None = None, threads: int | None = None) -> None:
        self.name = name or file.name
        self.version = file.sha256[:12]
        self.threads = threads or cpu_quota()
        self._session = open_session(file, self.threads)
        self._output_names = [node.name for node in self._session.get_outputs()]
        self._zipmaps = [node.name for node in self._session.get_outputs() if node.type.startswith("seq(map(")]
        self.inputs = tuple(_input_spec(node) for node in self._session.get_inputs())
        self.batch = _batch(self.inputs)
        try:
            sample = self._warm_up()
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ModelError(f"the model {self.name} cannot predict ({reason(error)}): export it again") from None
        self.seconds_per_row = min(self._seconds_per_row() for _ in range(5))
        self.outputs = tuple(self._output_spec(node, sample) for node in self._session.get_outputs())

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

        Raises `Problem` (422) where the model refuses these values: an index beyond its table, shapes that do not fit.
        """
        if self.batch <= NO_BATCH:
            return self._run(inputs)
        rows = len(next(iter(inputs.values())))
        parts = [self._run(part) for part in _padded(inputs, rows, self.batch)]
        return {name: np.concatenate([part[name] for part in parts])[:rows] for name in self._output_names}

    def _run(self, inputs: Tensors) -> Tensors:
        try:
            values = self._session.run(self._output_names, inputs)
        except REFUSED as error:
            raise Problem(422, f"the model {self.name} cannot process this input: {reason(error)}") from None
        outputs = dict(zip(self._output_names, values, strict=True))
        for name in self._zipmaps:
            outputs[name] = np.array([list(row.values()) for row in outputs[name]])
        return outputs

    def _warm_up(self) -> Tensors:
        """One row of zeros, then two: settles whether each row in gives one row out."""
        outputs = self.run(self._zeros(1))
        rows = 1
        if self.batch == ANY:
            outputs, rows = self.run(self._zeros(2)), 2
        if self.batch and any(value.ndim == 0 or len(value) != rows for value in outputs.values()):
            self.batch = NO_BATCH
            outputs = self.run(self._zeros(1))
        return outputs

    def _seconds_per_row(self) -> float:
        row = self._zeros(1)
        started = time.perf_counter()
        self.run(row)
        return time.perf_counter() - started

    def _zeros(self, rows: int) -> Tensors:
        """Inputs of `rows` rows (where the first axis counts rows), every other free axis of length 1."""
        return {
            spec.name: np.full(
                [rows if self.batch and axis == 0 else abs(length) for axis, length in enumerate(spec.shape)],
                "" if spec.dtype == object else 0,
                spec.dtype,
            )
            for spec in self.inputs
        }

    def _output_spec(self, node: ort.NodeArg, sample: Tensors) -> TensorSpec:
        value = sample[node.name]
        declared = _shape(node.shape) if node.name not in self._zipmaps else ()
        shape = declared if len(declared) == value.ndim else value.shape
        labels = tuple(self._session.run([node.name], self._zeros(1))[0][0]) if node.name in self._zipmaps else ()
        return TensorSpec(node.name, value.dtype, (ANY, *shape[1:]) if self.batch else shape, labels)


def _input_spec(node: ort.NodeArg) -> TensorSpec:
    element = node.type.removeprefix("tensor(").removesuffix(")")
    names = {"float": "float32", "double": "float64", "string": "object"}
    try:
        return TensorSpec(node.name, np.dtype(names.get(element, element)), _shape(node.shape))
    except TypeError:  # a sequence, a map, or an element that numpy has no name for, such as bfloat16
        expected = "export it with inputs that numpy can hold"
        raise ModelError(f"the model's input {node.name} is a {node.type}: {expected}") from None


def _shape(declared: Sequence[int | str | None]) -> tuple[int, ...]:
    """onnxruntime gives a number for a fixed axis, a name or None for a free one."""
    return tuple(length if isinstance(length, int) else ANY for length in declared)


def _batch(inputs: Sequence[TensorSpec]) -> int:
    lengths = {spec.shape[0] if spec.shape else NO_BATCH for spec in inputs}
    return lengths.pop() if len(lengths) == 1 else NO_BATCH


def _padded(inputs: Tensors, rows: int, batch: int) -> Iterator[Tensors]:
    """Parts of exactly `batch` rows; the last one is filled up by repeating its last row."""
    for start in range(0, rows, batch):
        index = np.minimum(np.arange(start, start + batch), rows - 1)
        yield {name: value[index] for name, value in inputs.items()}
