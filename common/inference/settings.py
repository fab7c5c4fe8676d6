"""Which model a predictor serves, and how it makes batches: the environment variables of `common/inference`."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from common.service.process.folders import LocalPath
from common.service.settings import ServiceSettings

MODELS = Path(__file__).parent.parent / "models"


class ModelSettings(ServiceSettings):
    """Which model a predictor serves, and how it makes batches."""

    model_uri: str = Field(str(MODELS / "mlp.onnx"), description="path or http(s) URL of an ONNX file")
    model_sha256: Annotated[str | None, BeforeValidator(lambda digest: digest or None)] = Field(
        None, pattern="^[0-9a-f]{64}$", description="checked where it is set, and not empty"
    )
    model_name: str | None = Field(None, min_length=1, description="default: the file's name without .onnx")
    model_download_timeout_seconds: float = Field(30.0, gt=0)
    model_threads: int | None = Field(None, gt=0, description="threads of one inference; default: the CPU quota")
    max_batch_rows: int = Field(64, gt=0, description="rows of one inference; a request with more is split")
    max_queue_rows: int = Field(1_024, gt=0, description="rows that may wait, and so rows of one request")
    batching: str = Field("auto", pattern="^(auto|on|off)$", description="auto: proved at start by running the model")
    warm_up: Annotated[LocalPath | None, BeforeValidator(lambda path: path or None)] = Field(
        None, description="JSON or .npz of inputs for the warm-up, in place of guessed ones"
    )
    warm_up_seconds: float = Field(10.0, gt=0, description="how long the warm-up and the proof may take")
