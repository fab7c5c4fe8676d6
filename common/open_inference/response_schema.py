"""Responses of the Open Inference Protocol over REST as pydantic models: they describe them in OpenAPI."""

from typing import Any, Literal

from pydantic import BaseModel, Field


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
