"""The environment variables of the two services: the proxy and its predictor."""

from pydantic import Field

from common.backends.settings import CallerSettings, ModelUrl
from common.open_inference.settings import GrpcPort, GrpcSettings
from common.prediction.settings import InputSettings, PredictSettings


class ProxySettings(CallerSettings, InputSettings):
    """The business flow."""

    predictor_url: ModelUrl = Field(
        "http://127.0.0.1:8121/v2/models/mlp",
        description="the model's address; http:// selects REST, grpc:// gRPC",
    )
    fallback: bool = Field(True, description="without a reading: true, the letter goes to `manual`; false, a problem")


class PredictorSettings(GrpcSettings, PredictSettings):
    """The predictor, which serves REST and gRPC."""

    grpc_port: GrpcPort = Field(8122, description="port of the gRPC server; 0 or empty disables it")
