"""The environment variables of the services: the proxy, and the three predictors that share one code."""

from typing import Literal

from pydantic import Field, SecretStr

from common.backends.settings import CallerSettings
from common.jobs.settings import RedisUrl
from common.prediction.settings import PictureSettings, PredictSettings
from common.store import settings as store

Step = Literal["hard", "soft"]
"""A hard step's failure is the request's; a soft one's leaves the best answer so far, marked as degraded."""
MODEL_URL = "^https?://[^/]+/v2/models/[^/]+$"


class StoreSettings(store.StoreSettings):
    """Where the scans of letters are kept."""

    redis_url: RedisUrl = Field(SecretStr("redis://127.0.0.1:6305/0"), description="may hold a password")


class ProxySettings(CallerSettings, PictureSettings, StoreSettings):
    """The order of the predictions."""

    quality_url: str = Field("http://127.0.0.1:8151/v2/models/quality", pattern=MODEL_URL)
    reader_url: str = Field("http://127.0.0.1:8152/v2/models/mlp", pattern=MODEL_URL)
    specialist_url: str = Field("http://127.0.0.1:8153/v2/models/specialist", pattern=MODEL_URL)
    quality_step: Step = Field("hard", description="hard: its failure is the request's; soft: go on without it")
    reader_step: Step = "hard"
    specialist_step: Step = "soft"
    doubt_up_to: float = Field(0.9, ge=0, le=1, description="a reading no surer than this: ask the specialist")
    retrieval: Literal["proxy", "predictor"] = Field("proxy", description="who gets stored scans from the store")
    max_scans: int = Field(16, gt=0, description="scans of one letter")


class PredictorSettings(PredictSettings, StoreSettings):
    """One of the three, by its MODEL_URI."""

    scans: Literal["first", "all"] = Field("first", description="which scans of a letter this model looks at")
