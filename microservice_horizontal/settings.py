"""The environment variables of the services: the proxy, the members that vote, and the post-processor."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode

from common.backends.settings import CallerSettings, HttpModelUrl
from common.jobs.settings import RedisUrl, WaitSettings
from common.prediction.settings import InputSettings, PredictSettings
from common.service.settings import ServiceSettings
from common.store import settings as store

Policy = Literal["wait", "deadline", "quorum", "first"]
Aggregation = Literal["majority", "mean", "weighted", "none"]


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _parse_weights(value: Any) -> Any:
    return dict(part.split("=", 1) for part in _split(value)) if isinstance(value, str) else value


def _require_unique_names(urls: list[str]) -> list[str]:
    names = [name_of(url) for url in urls]
    if len(set(names)) < len(names):
        raise ValueError("expected a different model name in each address")
    return urls


def name_of(url: str) -> str:
    """A member's name: that of its model."""
    return url.rpartition("/")[2]


MODELS = ("linear", "svm", "mlp")
MemberUrl = Annotated[HttpModelUrl, Field(pattern=r"/[\w.-]+$")]


class JobSettings(BaseSettings):
    """Where jobs are stored."""

    redis_url: RedisUrl = Field(SecretStr("redis://127.0.0.1:6306/0"), description="may hold a password")
    job_ttl_seconds: int = Field(3_600, gt=0, description="how long a job is stored")


class StoreSettings(JobSettings, store.StoreSettings):
    """Where jobs and pictures are stored."""


class VoteSettings(BaseSettings):
    """The members that vote, and how their votes are aggregated."""

    members: Annotated[
        list[MemberUrl], NoDecode, BeforeValidator(_split), Field(min_length=1), AfterValidator(_require_unique_names)
    ] = Field(
        [
            f"http://127.0.0.1:{port}/v2/models/{name}"
            for port, name in ((8161, "linear"), (8162, "svm"), (8163, "mlp"))
        ],
        description="the models' addresses, separated by commas",
    )
    quorum: int = Field(2, gt=0, description="how many must answer (`deadline`), or agree (`quorum`, and jobs)")
    aggregation: Aggregation = Field("mean", description="what the votes become")
    weights: Annotated[dict[str, Annotated[float, Field(ge=0)]], NoDecode, BeforeValidator(_parse_weights)] = Field(
        {"linear": 0.9356, "svm": 0.9956, "mlp": 0.9911},
        description="weights of votes for `weighted`; by default the accuracy on held-out scans, 1 for other models",
    )

    @property
    def names(self) -> list[str]:
        """The members."""
        return [name_of(url) for url in self.members]

    @field_validator("quorum")
    @classmethod
    def _require_reachable_quorum(cls, quorum: int, info: ValidationInfo) -> int:
        members = info.data.get("members")  # missing if they are invalid themselves
        if members and quorum > len(members):
            raise ValueError(f"expected at most {len(members)}, the number of MEMBERS")
        return quorum


class ProxySettings(CallerSettings, InputSettings, StoreSettings, VoteSettings, WaitSettings):
    """The proxy, which calls all members at the same time."""

    policy: Policy = Field("deadline", description="which members are waited for")
    retrieval: Literal["proxy", "predictor"] = Field("proxy", description="which service loads stored pictures")
    max_open_jobs: int = Field(10_000, gt=0, description="open jobs; more are rejected with 429")
    job_deadline_seconds: float = Field(10.0, gt=0, description="then a job is closed with the answers so far")


class PredictorSettings(PredictSettings, StoreSettings):
    """A member: one model, which is called directly and reads jobs from the stream."""

    lease_seconds: float = Field(5.0, gt=0, description="another process takes jobs whose lease is older")
    max_attempts: int = Field(3, gt=0, description="how many processes a job may crash; then the answer is an error")


class PostProcessorSettings(ServiceSettings, JobSettings, VoteSettings):
    """The post-processor, which manages the lag between the answers to a job."""

    early_model: str = Field("linear", description="the next action starts as soon as this member has answered")

    @field_validator("early_model")
    @classmethod
    def _require_member(cls, early_model: str, info: ValidationInfo) -> str:
        names = [name_of(url) for url in info.data.get("members", [])]
        if names and early_model not in names:
            raise ValueError(f"expected one of MEMBERS: {', '.join(names)}")
        return early_model
