"""The environment variables of every service; each room and each pattern adds its own in its `settings.py`.

Each field is the environment variable of the same name in capitals: `MAX_BATCH_ROWS=128`.
"""

import os
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Self, get_args

from pydantic import Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.service.masking import mask_urls

SIMILAR = 0.88
"""From this likeness (0 to 1) on, a variable is taken for a mistyped setting: a letter or two differ. Settings of a
pattern's services are less alike, else one service would warn of another's."""


class ProgramSettings(BaseSettings):
    """The base of all settings: frozen, read from the environment."""

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
            wrong = "; ".join(_describe(one, secrets) for one in error.errors())
            raise SystemExit(f"cannot start, wrong setting: {wrong}") from None

    @classmethod
    def find_mistyped(cls) -> Iterator[str]:
        """A sentence for each variable of the environment that is no setting but nearly one."""
        known = [name.upper() for name in cls.model_fields]
        for variable in sorted(os.environ):
            if variable.upper() not in known:
                for setting in get_close_matches(variable.upper(), known, 1, SIMILAR):
                    yield f"{variable} is no setting, and is ignored: is {setting} meant?"


def _describe(error: ErrorDetails, secrets: set[str]) -> str:
    """A wrong variable and why; where several contradict each other, only why."""
    if not error["loc"]:
        return error["msg"]
    name = str(error["loc"][0])
    value = "***" if name in secrets else mask_urls(str(error["input"]))
    is_part = len(error["loc"]) > 1
    if is_part and value not in mask_urls(os.environ.get(name.upper(), "")):
        value = "***"  # such as what stands behind a comma of a signed query: no URL by itself, but a secret
    return mask_urls(f"{name.upper()}={value}: {error['msg']}")


class ServiceSettings(ProgramSettings):
    """Limits and habits of any service."""

    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="INFO: a line per request")
    log_format: str = Field("text", pattern="^(text|json)$", description="text: lines for people; json in the image")
    request_timeout_ms: int = Field(2_000, gt=0, description="deadline where the caller sets no X-Request-Timeout-Ms")
    max_request_timeout_ms: int = Field(30_000, gt=0, description="the longest deadline that a caller can ask for")
    max_body_bytes: int = Field(
        16 * 2**20, gt=0, description="a longer request body is a 413; fits a 48 megapixel JPEG, 640 x 640 FP32 x 3 raw"
    )
    max_concurrent_requests: int = Field(1_024, gt=0, description="one more is a 503, decided at once")
    drain_seconds: float = Field(2.0, ge=0, description="from SIGTERM (not ready) to the closing of the port")
