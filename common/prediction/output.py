"""Predictions on their way out: to JSON without NaN or an infinity, or made of the outputs of another service."""

from pydantic_core import from_json, to_json

from common import domain
from common.inference.tensor_spec import Tensors


class InvalidNumber(ValueError):
    """A prediction has NaN or an infinity, which JSON does not have."""


def to_finite_json(predictions: object, model: str) -> bytes:
    """What `domain.to_outputs` gave for this model, or one of it, as JSON; raises `InvalidNumber`."""
    body = to_json(predictions)
    if b"N" in body or b"I" in body:  # NaN or Infinity, or a text; to look at the numbers each time costs more
        try:
            from_json(body, allow_inf_nan=False)
        except ValueError:
            raise InvalidNumber(f"the model {model} gave no finite numbers for this input") from None
    return body


def to_prediction(outputs: Tensors, model: str, version: str) -> domain.Output:
    """The prediction for the first row of these outputs, which have the domain's names; raises `InvalidNumber`.

    The outputs are finite, but the domain may make an infinity of them, as `exp` does of the logarithm of a price.
    """
    fields = domain.to_outputs(outputs, domain.ModelRef(name=model, version=version))[0]
    to_finite_json(fields, model)
    return domain.Output.model_validate(fields)
