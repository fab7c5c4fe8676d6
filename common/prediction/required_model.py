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
from common.prediction.domain_model import DomainModel
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


def require_tensors(model: Model) -> None:
    """For a service whose outputs mean something else than the domain's: only names, and what goes in, must fit."""
    if reason := find_tensor_misfit(model):
        raise SystemExit(f"cannot start: {reason}")


def find_tensor_misfit(model: Model) -> str | None:
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
