"""The environment variables of the three services: proxy, predictor, delivery."""

import base64
import binascii
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from common.jobs.settings import RedisUrl, WaitSettings
from common.prediction.settings import InputSettings, PredictSettings
from common.service.process.folders import LocalPath
from common.service.settings import ServiceSettings

SECRET_PREFIX, SECRET_BYTES = "whsec_", range(24, 65)


def check_secret(secret: SecretStr | None) -> SecretStr | None:
    """The secret, unchanged; raises ValueError if it does not have the form that Standard Webhooks requires."""
    if secret is None:
        return None
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(SECRET_PREFIX) or len(key) not in SECRET_BYTES:
        raise ValueError(f"expected {SECRET_PREFIX} and 24 to 64 random bytes in base64")
    return secret


class ResultSettings(BaseSettings):
    """Where Redis is, and how long results are kept."""

    redis_url: RedisUrl = Field(SecretStr("redis://127.0.0.1:6303/0"), description="may hold a password")
    result_ttl_seconds: int = Field(86_400, gt=0, description="how long a result is kept")


class QueueSettings(ResultSettings):
    """How a job gets to a predictor, and how long it is kept."""

    trigger: Literal["queue", "cache", "pubsub"] = Field("queue", description="what starts a job")
    job_ttl_seconds: int = Field(7 * 86_400, gt=0, description="how long an open job or a dead letter is kept")


class WebhookSettings(BaseSettings):
    """How webhooks are signed, and where they may go."""

    webhook_secret: Annotated[
        SecretStr | None, BeforeValidator(lambda secret: secret or None), AfterValidator(check_secret)
    ] = Field(None, description="`whsec_` and base64, signs deliveries; without it callback_url is rejected")
    webhook_allow_private: bool = Field(False, description="true: also send to addresses inside the network")


class ProxySettings(InputSettings, QueueSettings, WaitSettings, WebhookSettings):
    """The proxy."""

    max_queued_jobs: int = Field(10_000, gt=0, description="maximum number of open jobs; one more is a 429")
    require_predictor: bool = Field(False, description="true: 503 while no predictor is running")
    max_wait_seconds: float = Field(20.0, gt=0, description="maximum of `?wait=`; a longer one is reduced to this")

    @field_validator("require_predictor")
    @classmethod
    def _require_a_queue(cls, require_predictor: bool, info: ValidationInfo) -> bool:
        if require_predictor and info.data.get("trigger", "queue") != "queue":
            raise ValueError("expected TRIGGER=queue, which alone knows its predictors")
        return require_predictor


class PredictorSettings(PredictSettings, QueueSettings):
    """The predictor."""

    lease_seconds: float = Field(5.0, gt=0, description="a predictor that renews no lease for so long loses its jobs")
    job_timeout_seconds: float = Field(300.0, gt=0, description="an attempt that takes longer fails")
    retry: Literal["predictor", "queue"] = Field("queue", description="where a failed job is retried")
    max_attempts: int = Field(3, gt=0, description="attempts at a job; after the last it is a dead letter")
    backoff_seconds: float = Field(0.5, ge=0, description="wait before the second attempt; then doubled each time")


class DeliverySettings(ServiceSettings, ResultSettings, WebhookSettings):
    """The delivery."""

    results_database: LocalPath = Field(Path(".state/asynchronous/results.sqlite"), description="an SQLite file")
    delivery_timeout_seconds: float = Field(5.0, gt=0, description="timeout of one attempt at a webhook")
    delivery_attempts: int = Field(8, gt=0, description="attempts at a webhook, 1, 2, 4, … seconds apart")
