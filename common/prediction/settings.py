"""Which input a service takes: the domain's settings, as environment variables."""

from pydantic import Field

from common import domain
from common.inference.settings import ModelSettings
from common.service.settings import ServiceSettings


class InputSettings(ServiceSettings, domain.Settings):
    """A service that takes input of the domain."""

    max_item_bytes: int = Field(65_536, gt=0, description="bytes of an item in JSON, spaces in it too; more is a 413")


class PredictSettings(ModelSettings, InputSettings):
    """A service that holds the model and answers `POST /predict`."""
