"""Where scans are stored: the environment variables of `common/store`."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from common.jobs.settings import RedisUrl


class StoreSettings(BaseSettings):
    """A service that reads or writes stored scans."""

    redis_url: RedisUrl = Field(SecretStr("redis://127.0.0.1:6379/0"), description="may hold a password")
    image_ttl_seconds: int = Field(86_400, gt=0, description="how long scans are stored")
