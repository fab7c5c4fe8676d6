"""A model that fits the domain: its inputs and outputs under the domain's names, and why another does not fit.

The one input of a model may have any name, and so may the one output that has the right shape. An input may hold its
numbers with more or fewer bits than the domain, but not floats as integers, which would cut them off. Services that
send a model's tensors over the network send them as the domain makes them: `require_domain(model, tensors=True)`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import domain
from common.inference.model import InvalidInput, Model
from common.inference.tensor_spec import ANY, Tensors, TensorSpec
from common.prediction.payload import EXAMPLE_ROWS

Names = dict[str, str]
"""The model's name for an input or output, by the domain's."""


class DomainModel:
    """Turns rows into a model's inputs, and its outputs into predictions.

    `misfit` says in one sentence why the model does not fit the domain; None if it does, and only then can the rest be
    used.
    """

    def __init__(self, model: Model) -> None:
        self.ref = domain.ModelRef(name=model.name, version=model.version)
        dtypes = {spec.name: spec.dtype for spec in model.inputs}
        self._inputs = [(name, own, dtypes[own]) for name, own in _input_names(model).items()]
        self._outputs = _output_names(model)
        self.misfit = self._find_misfit(model)

    def to_inputs(self, rows: Tensors) -> Tensors:
        """What the model takes, under its own names and in its own dtypes."""
        return {own: rows[name].astype(dtype, copy=False) for name, own, dtype in self._inputs}

    def to_tensors(self, outputs: Tensors) -> Tensors:
        """The model's outputs under the domain's names."""
        return {name: outputs[own] for name, own in self._outputs.items()}

    def to_outputs(self, outputs: Tensors) -> list[dict[str, object]]:
        """The fields of an `Output` for each row."""
        return domain.to_outputs(self.to_tensors(outputs), self.ref)

    def _find_misfit(self, model: Model) -> str | None:
        """The domain's own check, then the names, then predictions for one example and for two."""
        name = f"the model {model.name}"
        other = f"{name} does not turn rows of {', '.join(EXAMPLE_ROWS)} into {', '.join(domain.OUTPUTS)}"
        if not model.inputs:
            return other
        try:
            if reason := domain.check(model) or self._find_lossy_input(name):
                return reason
            if not self._inputs or not self._outputs or not self._gives_rows(model):
                return other
        except Exception as error:  # whatever a model that does not fit makes of it
            return f"{name} cannot predict the domain's example: {type(error).__name__}: {error}"
        return None

    def _find_lossy_input(self, model: str) -> str | None:
        for name, own, dtype in self._inputs:
            given = EXAMPLE_ROWS[name].dtype
            if not np.can_cast(given, dtype, "same_kind"):
                return f"{model} takes {own} as {dtype}, which cannot hold the domain's {given}"
        return None

    def _gives_rows(self, model: Model) -> bool:
        """Whether n rows give n predictions; a model that fixes one row for each request is asked for no more."""
        one = self.to_inputs(EXAMPLE_ROWS)
        two = {name: np.concatenate([value, value]) for name, value in one.items()}
        if len(self.to_outputs(model.run(one))) != 1:
            return False
        try:
            return len(self.to_outputs(model.run(two))) == 2
        except InvalidInput:
            return True


def require_domain(model: Model, *, tensors: bool = False) -> DomainModel:
    """The model, if it fits the domain; else the process ends with one line that says why.

    With `tensors` its inputs and outputs must be those of the domain by name, dtype and shape too, since other services
    send and ask for them.
    """
    fitted = DomainModel(model)
    if reason := fitted.misfit or (tensors_misfit(model) if tensors else None):
        raise SystemExit(f"cannot start: {reason}")
    return fitted


def require_tensors(model: Model) -> None:
    """For a service whose outputs mean something else than the domain's: only names, and what goes in, must fit."""
    if reason := tensors_misfit(model):
        raise SystemExit(f"cannot start: {reason}")


def tensors_misfit(model: Model) -> str | None:
    """Why other services cannot send the domain's rows to this model as they are, in one sentence, or None."""
    inputs, outputs = {spec.name: spec for spec in model.inputs}, {spec.name for spec in model.outputs}
    if {*EXAMPLE_ROWS} != inputs.keys() or not {*domain.OUTPUTS} <= outputs:
        return f"the model {model.name} does not turn {', '.join(EXAMPLE_ROWS)} into {', '.join(domain.OUTPUTS)}"
    for name, values in EXAMPLE_ROWS.items():
        spec = inputs[name]
        if not _fits(spec, values):
            takes, sent = _describe(spec.dtype, spec.shape), _describe(values.dtype, values.shape)
            return f"the model {model.name} takes {name} as {takes}, but other services send it as {sent}"
    return None


def _fits(spec: TensorSpec, values: NDArray[Any]) -> bool:
    same_dtype = spec.dtype == values.dtype or (spec.dtype.hasobject and values.dtype.kind == "U")
    if not same_dtype or len(spec.shape) != values.ndim:
        return False
    return all(length in (ANY, got) for length, got in zip(spec.shape[1:], values.shape[1:], strict=True))


def _describe(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    """`float32 of shape (n, 64)`, where n counts the rows."""
    lengths = ["any" if length == ANY else str(length) for length in shape[1:]]
    kind = "strings" if dtype.hasobject or dtype.kind == "U" else str(dtype)
    return f"{kind} of shape ({', '.join(['n', *lengths])})"


def _input_names(model: Model) -> Names:
    """Empty if they do not fit."""
    own = [spec.name for spec in model.inputs]
    if {*own} == {*EXAMPLE_ROWS}:
        return {name: name for name in EXAMPLE_ROWS}
    return dict(zip(EXAMPLE_ROWS, own, strict=True)) if len(own) == len(EXAMPLE_ROWS) == 1 else {}


def _output_names(model: Model) -> Names:
    """Empty if they do not fit."""
    names = {spec.name for spec in model.outputs}
    if {*domain.OUTPUTS} <= names:
        return {name: name for name in domain.OUTPUTS}
    classes = len(domain.LABELS)
    numbers = [spec for spec in model.outputs if spec.dtype.kind == "f"]
    fitting = [spec.name for spec in numbers if not classes or spec.shape[1:] == (classes,)]
    return dict(zip(domain.OUTPUTS, fitting, strict=True)) if len(fitting) == len(domain.OUTPUTS) == 1 else {}
