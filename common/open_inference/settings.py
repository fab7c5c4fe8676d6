"""Where gRPC is served: the environment variables of `common/open_inference`."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from common.inference.settings import ModelSettings

GrpcPort = Annotated[int, BeforeValidator(lambda port: port or 0), Field(ge=0, lt=2**16)]


class GrpcSettings(ModelSettings):
    """A predictor that also serves gRPC."""

    grpc_host: str = Field("127.0.0.1", description="address on which gRPC is served")
    grpc_port: GrpcPort = Field(9001, description="port on which gRPC is served; 0 or empty: it is not")
