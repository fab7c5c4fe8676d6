"""What every service and every predictor can be told by its environment; a pattern's `settings.py` adds its own.

Each field is the environment variable of the same name in capitals: `MAX_BATCH_ROWS=128`.
"""

from pathlib import Path
from typing import Annotated, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

MODELS = Path(__file__).parent.parent / "models"


class ProgramSettings(BaseSettings):
    """What any program can be told."""

    model_config = SettingsConfigDict(frozen=True)

    @classmethod
    def from_environment(cls) -> Self:
        """The settings, or the end of the process with one line for each variable that is missing or wrong."""
        try:
            return cls()
        except ValidationError as error:
            secrets = {
                name
                for name, field in cls.model_fields.items()
                if SecretStr in (field.annotation, *get_args(field.annotation))
            }
            wrong = "; ".join(_told(one, secrets) for one in error.errors())
            raise SystemExit(f"cannot start, wrong setting: {wrong}") from None


def _told(error: ErrorDetails, secrets: set[str]) -> str:
    """A wrong variable and why; where several contradict each other, only why."""
    if not error["loc"]:
        return error["msg"]
    name = str(error["loc"][0])
    return f"{name.upper()}={'***' if name in secrets else error['input']}: {error['msg']}"


class ServiceSettings(ProgramSettings):
    """Limits and habits of any service."""

    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="INFO: a line per request")
    request_timeout_ms: int = Field(2_000, gt=0, description="deadline where the caller sets no X-Request-Timeout-Ms")
    max_request_timeout_ms: int = Field(30_000, gt=0, description="the longest deadline that a caller can ask for")
    max_body_bytes: int = Field(4 * 2**20, gt=0, description="a longer request body is a 413")
    max_concurrent_requests: int = Field(1_024, gt=0, description="one more is a 503, decided at once")
    drain_seconds: float = Field(2.0, ge=0, description="from SIGTERM (not ready) to the closing of the port")


def _is_redis(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("expected redis://HOST:PORT/DATABASE")
    return url


RedisUrl = Annotated[SecretStr, AfterValidator(_is_redis)]
"""Where a Redis or Valkey is; it may hold a password."""


class StoreSettings(BaseSettings):
    """Where scans are kept."""

    redis_url: RedisUrl = Field(SecretStr("redis://127.0.0.1:6379/0"), description="may hold a password")
    image_ttl_seconds: int = Field(86_400, gt=0, description="how long scans are kept")


class PictureSettings(ServiceSettings):
    """What a service that takes pictures will look at."""

    max_pixels: int = Field(4 * 2**20, gt=0, description="width x height of a picture; a larger one is a 413")


class PredictorSettings(PictureSettings):
    """Which model a predictor serves, and how it makes batches."""

    model_uri: str = Field(str(MODELS / "mlp.onnx"), description="path or http(s) URL of an ONNX file")
    model_sha256: Annotated[str | None, BeforeValidator(lambda digest: digest or None)] = Field(
        None, pattern="^[0-9a-f]{64}$", description="checked where it is set, and not empty"
    )
    model_name: str | None = Field(None, min_length=1, description="default: the file's name without .onnx")
    model_download_timeout_seconds: float = Field(30.0, gt=0)
    model_threads: int | None = Field(None, gt=0, description="threads of one inference; default: the CPU quota")
    max_batch_rows: int = Field(64, gt=0, description="rows of one inference, and so of one request")
    max_queue_rows: int = Field(1_024, gt=0, description="rows that may wait; one more is a 503")


class CallerSettings(ServiceSettings):
    """How a service treats the services that it calls."""

    breaker_failures: int = Field(5, gt=0, description="so many calls fail in a row: the backend is left alone")
    breaker_open_seconds: float = Field(1.0, gt=0, description="for so long; then one call tries it again")
