"""Which input a service takes: the domain's settings, as environment variables."""

from common import domain
from common.inference.settings import ModelSettings
from common.service.settings import ServiceSettings


class InputSettings(ServiceSettings, domain.Settings):
    """A service that takes input of the domain."""


class PredictSettings(ModelSettings, InputSettings):
    """A service that holds the model and answers `POST /predict`."""
