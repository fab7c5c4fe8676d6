"""One prediction, made of the outputs of a model in another service."""

from common import domain
from common.inference.tensor_spec import Tensors


def to_prediction(outputs: Tensors, model: str, version: str) -> domain.Output:
    """The prediction for the first row of these outputs, which have the domain's names."""
    return domain.Output.model_validate(domain.to_outputs(outputs, domain.ModelRef(name=model, version=version))[0])
