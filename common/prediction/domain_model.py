"""A model as the domain uses it: rows in, predictions out. Here, and only here, the domain and the model meet."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import domain
from common.inference.model import Model
from common.inference.predictor import Context, Predictor
from common.inference.tensor_spec import Tensors

INPUT = (domain.ROW.names or ("",))[0]
"""The row's first field, for those who call a model of one input in another service."""
Fields = dict[str, Any]
"""Of the domain's `Output`."""


class DomainModel:
    """Predicts rows of the domain; `misfit` says why the model cannot, and is None if it can."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.ref = domain.ModelRef(name=predictor.model.name, version=predictor.model.version)
        self.misfit = misfit_of(predictor.model)

    async def scores(self, rows: NDArray[np.void], context: Context) -> NDArray[Any]:
        """The scores of each row; raises what `Predictor.predict` raises."""
        outputs = await self._predictor.predict(to_inputs(self._predictor.model, rows), len(rows), context)
        return domain.scores(outputs)

    async def predict(self, rows: NDArray[np.void], context: Context) -> list[Fields]:
        """The fields of an `Output` for each row; raises what `Predictor.predict` raises."""
        return domain.to_outputs(await self.scores(rows, context), self.ref)


def misfit_of(model: Model) -> str | None:
    """Why the model does not fit the domain, or None."""
    names = domain.ROW.names or ()
    if len(model.inputs) != len(names):
        return domain.check(model) or f"takes {len(model.inputs)} inputs, not {len(names)}"
    return domain.check(model) or (None if model.is_batched else "takes no batches")


def require_domain(model: Model) -> None:
    """End the process with one line if the model does not fit: for a service that is of no use then."""
    if misfit := misfit_of(model):
        raise SystemExit(f"cannot start: the model {model.name} {misfit}: set MODEL_URI to one that fits common/domain")


def to_inputs(model: Model, rows: NDArray[np.void]) -> Tensors:
    """The model's inputs by its own names, in the order of the row's fields."""
    names = domain.ROW.names or ()
    return {
        spec.name: rows[name].astype(spec.dtype, copy=False) for spec, name in zip(model.inputs, names, strict=True)
    }
