"""A model that fits the domain: its inputs and outputs under the domain's names, and why another does not fit.

The one input of a model may have any name, and so may the one output that has the right shape. An input may hold its
numbers with more or fewer bits than the domain, but not floats as integers, which would cut them off.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import domain
from common.inference.model import InvalidInput, Model
from common.inference.tensor_spec import Tensors
from common.prediction.output import to_finite_json
from common.prediction.payload import EXAMPLE_ROWS

Names = dict[str, str]
"""The model's name for an input or output, by the domain's."""
SUM_TOLERANCE = 0.01
"""How far probabilities may be from summing to 1; callers in other services (`backends/classifier.py`) do so, too."""


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

    def to_json(self, predictions: object) -> bytes:
        """What `to_outputs` gave, or one of it; raises `InvalidNumber`."""
        return to_finite_json(predictions, self.ref.name)

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
            outputs = self.to_tensors(model.run(self.to_inputs(EXAMPLE_ROWS)))
            return find_wrong_numbers(name, outputs, len(domain.LABELS), f"the domain has {len(domain.LABELS)} labels")
        except Exception as error:  # whatever a model that does not fit makes of it
            return f"{name} cannot predict the domain's example: {type(error).__name__}: {error}"

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


def find_wrong_numbers(model: str, outputs: Tensors, classes: int, expected: str) -> str | None:
    """Why a model must not give these outputs for the domain's example, in one sentence, or None.

    The first must hold probabilities of `classes` classes, and `expected` says whose they are; 0: any finite numbers.
    """
    for name, values in outputs.items():
        if not _is_finite(values):
            return f"{model} gives no finite {name} for the domain's example"
    name, probabilities = next(iter(outputs.items()))
    if classes and probabilities.shape[1:] != (classes,):
        sizes = ", ".join(map(str, ["n", *probabilities.shape[1:]]))
        return f"{model} gives {name} of shape ({sizes}), but {expected}"
    if classes and (probabilities.min() < 0 or abs(probabilities.sum() - 1) > SUM_TOLERANCE):
        got = f"the numbers in {name} have the sum {probabilities.sum():.3g}"
        return f"{model} gives no probabilities for the domain's example: {got}"
    return None


def _is_finite(values: NDArray[Any]) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


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
