"""An ONNX Runtime session that fits into a container: its threads, its memory, its inputs and outputs, its errors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from common.inference.model_file import ModelError, ModelFile
from common.inference.tensor_spec import ANY, Tensors, TensorSpec

INPUT_ERRORS = (InvalidArgument, Fail, RuntimeException)
"""What onnxruntime raises for values that do not fit; the graph itself could be loaded."""


ZIPMAP = "seq(map("


class Session:
    """A loaded graph: runs it and describes it."""

    def __init__(self, file: ModelFile, threads: int) -> None:
        self._session = _open(file, threads)
        self._output_names = [node.name for node in self._session.get_outputs()]
        self._zipmaps = [node.name for node in self._session.get_outputs() if node.type.startswith(ZIPMAP)]
        self.inputs = tuple(_spec(node, "input") for node in self._session.get_inputs())
        self._declared = [
            TensorSpec(node.name, np.dtype(np.float64), (ANY, ANY))
            if node.name in self._zipmaps
            else _spec(node, "output")
            for node in self._session.get_outputs()
        ]

    def run(self, inputs: Tensors) -> Tensors:
        """Every output by name; an output of maps (ZipMap) as a table. Raises what onnxruntime raises."""
        outputs = dict(zip(self._output_names, self._session.run(self._output_names, inputs), strict=True))
        for name in self._zipmaps:
            rows = [list(row.values()) for row in outputs[name]]
            outputs[name] = np.array(rows).reshape(len(rows), -1)
        return outputs

    def output_specs(self, inputs: Tensors | None, outputs: Tensors | None, is_batched: bool) -> tuple[TensorSpec, ...]:
        """What the graph says about its outputs, completed from a sample, if any: these inputs gave these outputs."""
        if inputs is None or outputs is None:
            return tuple(self._declared)
        return tuple(self._complete(spec, inputs, outputs[spec.name], is_batched) for spec in self._declared)

    def _complete(self, spec: TensorSpec, inputs: Tensors, value: NDArray[Any], is_batched: bool) -> TensorSpec:
        is_zipmap = spec.name in self._zipmaps
        shape = spec.shape if len(spec.shape) == value.ndim and not is_zipmap else value.shape
        if len(spec.shape) != value.ndim and any(ANY in each.shape[is_batched:] for each in self.inputs):
            shape = (ANY,) * value.ndim  # not declared: each length may follow from one of the inputs'
        shape = tuple(length if length == got else ANY for length, got in zip(shape, value.shape, strict=True))
        labels = tuple(self._session.run([spec.name], inputs)[0][0]) if is_zipmap and len(value) else ()
        return TensorSpec(spec.name, value.dtype, (ANY, *shape[1:]) if is_batched or is_zipmap else shape, labels)


def first_line(error: Exception) -> str:
    """An exception's first line, without onnxruntime's error code."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rpartition(" : ")[2]


def _open(file: ModelFile, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # an arena never shrinks: varying shapes would only ever add to it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads must not use CPU quota
    options.log_severity_level = 4  # errors are raised, and logged by the code that handles them
    try:
        return ort.InferenceSession(file.source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        cause = first_line(error)
        raise ModelError(f"{file.name} is no ONNX model that can be run ({cause}): export it again") from None


def _spec(node: ort.NodeArg, kind: str) -> TensorSpec:
    element = node.type.removeprefix("tensor(").removesuffix(")")
    names = {"float": "float32", "double": "float64", "string": "object"}
    try:
        return TensorSpec(node.name, np.dtype(names.get(element, element)), _shape(node.shape))
    except TypeError:  # a sequence, a map, or an element type that numpy lacks, such as bfloat16
        expected = f"export it with {kind}s that numpy can hold, tensors of numbers or strings"
        raise ModelError(f"the model's {kind} {node.name} is a {node.type}: {expected}") from None


def _shape(declared: Sequence[int | str | None]) -> tuple[int, ...]:
    """onnxruntime gives a number for a fixed axis, a name or None for a free one."""
    return tuple(length if isinstance(length, int) else ANY for length in declared)
