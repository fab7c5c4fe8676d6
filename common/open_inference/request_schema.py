"""A request of the Open Inference Protocol over REST as pydantic models: its JSON is validated by them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field
from pydantic.json_schema import SkipJsonSchema

Refused = SkipJsonSchema[Any]
"""A member that only an extension knows which is not here: it gets a 501, and no description."""

Length = Annotated[int, Field(ge=0, lt=2**63)]

MAX_TENSORS = 1_024
"""Inputs, and outputs, of one request: more than any model has, so that a list of a million is not read to its end."""

MAX_AXES = 64
"""Of one tensor: as many as numpy has."""


class Part(BaseModel):
    """Part of a request. Unknown members are ignored, as the protocol requires."""

    model_config = ConfigDict(strict=True)


class InputParameters(Part):
    """Parameters of one input."""

    binary_data_size: Length | None = Field(None, description="this many bytes after the JSON are the tensor")
    shared_memory_region: Refused = None


class InputTensor(Part):
    """One input: its elements are in `data`, flat or nested, or in bytes after the JSON."""

    name: str = Field(examples=["features"])
    datatype: str = Field(examples=["FP32"])
    shape: Annotated[list[Length], FailFast()] = Field(max_length=MAX_AXES, examples=[[1, 64]])
    parameters: InputParameters | None = None
    data: Any = Field(None, examples=[[0.0] * 64])

    @property
    def binary_size(self) -> int | None:
        """The number of bytes after the JSON that are this tensor; None: it is in `data`."""
        return self.parameters.binary_data_size if self.parameters else None


class OutputParameters(Part):
    """Parameters of one requested output."""

    binary_data: bool | None = Field(None, description="true: in bytes after the JSON")
    classification: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None, description="the so many largest scores, as strings SCORE:INDEX"
    )
    shared_memory_region: Refused = None


class RequestedOutput(Part):
    """One requested output."""

    name: str
    parameters: OutputParameters | None = None

    @property
    def binary(self) -> bool | None:
        """Whether to send it as bytes; None: as the request says for all outputs."""
        return self.parameters.binary_data if self.parameters else None

    @property
    def classification(self) -> int | None:
        """How many of its largest scores are wanted; None: all values, as they are."""
        return self.parameters.classification if self.parameters else None


class RequestParameters(Part):
    """Parameters of the whole request."""

    timeout: Length = Field(0, description="the deadline in microseconds; 0: the service's default")
    binary_data_output: bool = Field(False, description="true: every output in bytes after the JSON")


class InferRequest(Part):
    """Tensors for the model; without `outputs`, the response has all of them."""

    id: str | None = None
    parameters: RequestParameters | None = None
    inputs: Annotated[list[InputTensor], FailFast()] = Field(max_length=MAX_TENSORS)
    outputs: Annotated[list[RequestedOutput], FailFast()] = Field(default_factory=list, max_length=MAX_TENSORS)

    @property
    def uses_shared_memory(self) -> bool:
        """Whether a tensor is, or is to be, in shared memory."""
        parameters = [*(tensor.parameters for tensor in self.inputs), *(output.parameters for output in self.outputs)]
        return any(found is not None and found.shared_memory_region is not None for found in parameters)
