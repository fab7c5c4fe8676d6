"""The JSON of the Open Inference Protocol over REST, as pydantic models: validated, and described in OpenAPI."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field
from pydantic.json_schema import SkipJsonSchema

Refused = SkipJsonSchema[Any]
"""A member that only an extension knows which is not here: it gets a 501, and no description."""

Length = Annotated[int, Field(ge=0, lt=2**63)]

MAX_TENSORS = 1_024
"""Inputs, and outputs, of one request: more than any model has, so that a list of a million is not read to its end."""


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
    shape: Annotated[list[Length], FailFast()] = Field(examples=[[1, 64]])
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


class Error(BaseModel):
    """The response to a request that failed."""

    error: str


class OutputTensor(BaseModel):
    """One output: its elements are in `data`, flat, or in bytes after the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = Field(None, examples=[{"binary_data_size": 40}])
    data: list[Any] | None = None


class InferResponse(BaseModel):
    """The outputs for as many rows as came in, in order."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class Health(BaseModel):
    """Both keys, wherever one is asked for: the specification has one, clients read the other."""

    live: bool
    ready: bool


class TensorMetadata(BaseModel):
    """One input or output of a model; -1 in a shape is an axis of any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelParameters(BaseModel):
    """How a model is run."""

    batching: Literal["exact", "trusted", "off"] = Field(
        description="exact: requests share runs and get what they get alone, bit for bit; trusted: they share runs, "
        "unproved (BATCHING=on); off: each request runs alone"
    )
    warmed_up: bool = Field(description="whether inputs were found with which the model ran at start")


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: ModelParameters


class IndexedModel(BaseModel):
    """A model of the server's repository, and whether it can predict."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class ConfiguredTensor(BaseModel):
    """One input or output in a configuration; `dims` are without the axis that counts rows."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(BaseModel):
    """Triton's configuration of a model, as far as an ONNX file has one; `max_batch_size` 0: requests run alone."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[ConfiguredTensor]
    output: list[ConfiguredTensor]


class Duration(BaseModel):
    """How often, and how many nanoseconds in all, where they are measured."""

    count: int
    ns: int = 0


class InferStatistics(BaseModel):
    """Requests that succeeded and failed; the waiting and the computing of batches."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_infer: Duration


class ModelStats(BaseModel):
    """What a model has done since the start: rows, batches, requests."""

    name: str
    version: str
    inference_count: int
    execution_count: int
    inference_stats: InferStatistics


class ModelStatistics(BaseModel):
    """Of each model that was asked for."""

    model_stats: list[ModelStats]


class ModelReady(BaseModel):
    """Whether a model can predict."""

    name: str
    ready: bool
