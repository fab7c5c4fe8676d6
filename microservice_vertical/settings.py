"""The environment variables of the services: the proxy, and the three predictors, which run the same code."""

from typing import Literal

from pydantic import Field, SecretStr

from common.backends.settings import CallerSettings, HttpModelUrl
from common.jobs.settings import RedisUrl
from common.prediction.settings import InputSettings, PredictSettings
from common.store import settings as store
from common.store.image_store import Scans


class StoreSettings(store.StoreSettings):
    """Where the scans of letters are stored."""

    redis_url: RedisUrl = Field(SecretStr("redis://127.0.0.1:6305/0"), description="may hold a password")


class ProxySettings(CallerSettings, InputSettings, StoreSettings):
    """The order of the predictions."""

    quality_url: HttpModelUrl = Field("http://127.0.0.1:8151/v2/models/quality")
    reader_url: HttpModelUrl = Field("http://127.0.0.1:8152/v2/models/mlp")
    specialist_url: HttpModelUrl = Field("http://127.0.0.1:8153/v2/models/specialist")
    quality_required: bool = Field(True, description="true: if it fails, the request fails; false: it is skipped")
    reader_required: bool = Field(True, description="true: if it fails, the request fails; false: ask the specialist")
    specialist_required: bool = Field(False, description="true: if it fails, the request fails; false: degraded")
    quality_scans: Scans = Field("first", description="which scans of a stored letter its model reads, or all")
    reader_scans: Scans = Field("first", description="which scans of a stored letter its model reads, or all")
    specialist_scans: Scans = Field("all", description="which scans of a stored letter its model reads, or first")
    escalate_below: float = Field(
        0.9, ge=0, le=1, description="a reading whose confidence is not above this goes to the specialist"
    )
    retrieval: Literal["proxy", "predictor"] = Field("proxy", description="which service loads stored scans")
    max_scans: int = Field(16, gt=0, description="scans of one letter")


class PredictorSettings(PredictSettings, StoreSettings):
    """One of the three predictors; MODEL_URI says which."""

    scans: Scans = Field("first", description="which scans of a stored letter this model reads")
