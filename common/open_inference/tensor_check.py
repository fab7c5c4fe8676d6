"""Checks a request's tensors against the model before their data is decoded, for REST and gRPC alike.

A mismatch raises a `Problem` that names the tensor, what the model expects and what it got. onnxruntime would notice
most of them too, but later, for the whole batch, and without that detail.
"""

from collections.abc import Container, Iterable, Sequence
from math import prod
from reprlib import repr as short_repr
from typing import TYPE_CHECKING

from common.inference.tensor_spec import ANY, Tensors, TensorSpec
from common.open_inference.datatypes import datatype
from common.service.problems import Problem

if TYPE_CHECKING:  # callers of other services import this, and need no onnxruntime
    from common.inference.model import Model


class TensorCheck:
    """Checks tensors against the inputs and outputs of one model.

    `lists_per_element`: of nested `data` in JSON, at most.
    """

    def __init__(self, model: "Model") -> None:
        self._inputs = {spec.name: spec for spec in model.inputs}
        self._outputs = [spec.name for spec in model.outputs]
        self._datatypes = {spec.name: datatype(spec.dtype) for spec in model.inputs}
        # In a batch the rows of several requests run together, so the first axis is free whatever the graph says.
        self._shapes = {s.name: (ANY, *s.shape[1:]) if model.is_batched else s.shape for s in model.inputs}
        self._counts_rows = model.is_batched
        self._needs_rows = model.fixed_batch_size is not None
        self.lists_per_element = max(map(_lists_per_element, self._shapes.values()), default=0.0)

    def input(self, name: str, type_: str, shape: Sequence[int], known: Container[str]) -> TensorSpec:
        """The spec of an input that is about to be decoded; `known` are the names of the inputs before it."""
        spec = self._inputs.get(name)
        if spec is None:
            expected = " and ".join(self._inputs) or "none"
            raise Problem(400, f"inputs: expected {expected}, got {short_repr(name)}")
        if name in known:
            raise Problem(400, f"input {name}: expected once, got twice")
        if type_ != self._datatypes[name]:
            raise Problem(400, f"input {name}: expected the datatype {self._datatypes[name]}, got {short_repr(type_)}")
        if not self._fits(shape, self._shapes[name]):
            expected = f"expected the shape {list(self._shapes[name])} (-1: any length)"
            raise Problem(400, f"input {name}: {expected}, got {short_repr(list(shape))}")
        return spec

    def complete(self, inputs: Tensors) -> tuple[Tensors, int | None]:
        """The inputs in the order of the graph, and their number of rows; None if they have different ones.

        Raises `Problem` 400 if one is missing, or if the graph fixes the number of rows.
        """
        if len(inputs) != len(self._inputs):
            missing = [name for name in self._inputs if name not in inputs]
            raise Problem(400, f"inputs: expected {' and '.join(self._inputs)}, got none called {missing[0]}")
        if not self._counts_rows:
            return inputs, 1
        rows = {len(value) for value in inputs.values()}
        if len(rows) > 1 and self._needs_rows:
            lengths = ", ".join(f"{name} {len(value)}" for name, value in inputs.items())
            raise Problem(400, f"inputs: expected the same number of rows in each, got {lengths}")
        if self._needs_rows and 0 in rows:
            raise Problem(400, "inputs: expected one row or more, since the model fixes the number of rows, got none")
        return {name: inputs[name] for name in self._inputs}, rows.pop() if len(rows) == 1 else None

    def outputs(self, requested: Iterable[str]) -> list[str]:
        """The names of the outputs to answer with: the requested ones, or all."""
        names = list(requested)
        for name in names:
            if name not in self._outputs:
                raise Problem(400, f"outputs: expected {' or '.join(self._outputs)}, got {short_repr(name)}")
        if len(set(names)) < len(names):
            raise Problem(400, "outputs: expected each once, got one twice")
        return names or self._outputs

    @staticmethod
    def _fits(shape: Sequence[int], expected: tuple[int, ...]) -> bool:
        if not expected:  # a scalar, or an input of which the graph says no shape: onnxruntime knows which
            return True
        if len(shape) != len(expected):
            return False
        return all(got == length or (length == ANY and got >= 0) for got, length in zip(shape, expected, strict=True))


def _lists_per_element(shape: tuple[int, ...]) -> float:
    """How many lists a tensor of this shape has at most for each element, if it is nested, besides the outermost."""
    if not shape:
        return 1.0
    return sum(1 / prod([max(1, length) for length in shape[axis:]]) for axis in range(1, len(shape)))


def check_count(name: str, got: int, shape: Sequence[int]) -> None:
    """Raise a `Problem` unless `got` elements fill the shape exactly."""
    if got != prod(shape):  # Python's integers do not overflow, whatever the shape
        raise Problem(400, f"input {name}: expected {prod(shape)} elements for {list(shape)}, got {got}")
