"""Which pictures a service takes: the environment variables of `common/prediction`."""

from pydantic import Field

from common.inference.settings import ModelSettings
from common.service.settings import ServiceSettings


class PictureSettings(ServiceSettings):
    """A service that takes pictures."""

    max_pixels: int = Field(4 * 2**20, gt=0, description="width x height of a picture; a larger one is a 413")


class PredictSettings(ModelSettings, PictureSettings):
    """A service that holds the model and answers `POST /predict`."""
