"""Ends a process at start whose model does not fit, with one line that says why.

Services that send tensors over the network send them as the domain makes them: under its names, with its dtypes and
shapes. The model behind them must take exactly those, or it would reject every request.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import domain
from common.inference.model import Model
from common.inference.tensor_spec import ANY, TensorSpec
from common.prediction.domain_model import DomainModel, find_wrong_numbers
from common.prediction.payload import EXAMPLE_ROWS


def require_domain(model: Model, *, tensors: bool = False) -> DomainModel:
    """The model, if it fits the domain; else the process ends with one line that says why.

    With `tensors` its inputs and outputs must be those of the domain by name, dtype and shape too, since other services
    send and ask for them.
    """
    fitted = DomainModel(model)
    if reason := fitted.misfit or (find_tensor_misfit(model) if tensors else None):
        raise SystemExit(f"cannot start: {reason}")
    return fitted


def require_classes(model: Model, classes: int) -> None:
    """For a service whose probabilities mean something else than the domain's: they are of so many classes.

    Its inputs and outputs must be those of the domain all the same, by name, and the inputs by dtype and shape.
    """
    if reason := find_tensor_misfit(model) or _find_wrong_classes(model, classes):
        raise SystemExit(f"cannot start: {reason}")


def find_tensor_misfit(model: Model) -> str | None:
    """Why other services cannot send the domain's rows to this model as they are, in one sentence, or None."""
    inputs, outputs = {spec.name: spec for spec in model.inputs}, {spec.name: spec for spec in model.outputs}
    if {*EXAMPLE_ROWS} != inputs.keys() or not {*domain.OUTPUTS} <= outputs.keys():
        return f"the model {model.name} does not turn {', '.join(EXAMPLE_ROWS)} into {', '.join(domain.OUTPUTS)}"
    for name, values in EXAMPLE_ROWS.items():
        spec = inputs[name]
        if not _fits(spec, values):
            takes, sent = _describe(spec.dtype, spec.shape), _describe(values.dtype, values.shape)
            return f"the model {model.name} takes {name} as {takes}, but other services send it as {sent}"
    first = outputs[domain.OUTPUTS[0]]
    if domain.LABELS and first.dtype.kind != "f":
        return f"the model {model.name} gives {first.name} as {first.dtype}, but other services expect floats"
    return None


def _find_wrong_classes(model: Model, classes: int) -> str | None:
    name, dtypes = f"the model {model.name}", {spec.name: spec.dtype for spec in model.inputs}
    try:
        outputs = model.run({own: rows.astype(dtypes[own], copy=False) for own, rows in EXAMPLE_ROWS.items()})
    except Exception as error:  # whatever a model that does not fit makes of it
        return f"{name} cannot predict the domain's example: {type(error).__name__}: {error}"
    expected = f"this service needs {classes} classes"
    return find_wrong_numbers(name, {own: outputs[own] for own in domain.OUTPUTS}, classes, expected)


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
