"""The environment variables of the services: the proxy, the members that vote, and the post-processor."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode

from common.backends.settings import CallerSettings
from common.jobs.settings import RedisUrl
from common.prediction.settings import InputSettings, PredictSettings
from common.service.settings import ServiceSettings
from common.store import settings as store

Policy = Literal["wait", "deadline", "quorum", "first"]
Aggregation = Literal["majority", "mean", "weighted", "none"]


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _weighted(value: Any) -> Any:
    return dict(part.split("=", 1) for part in _listed(value)) if isinstance(value, str) else value


def _without_doubles(urls: list[str]) -> list[str]:
    names = [name_of(url) for url in urls]
    if len(set(names)) < len(names):
        raise ValueError("expected another model name in each address")
    return urls


def name_of(url: str) -> str:
    """A member's name: that of its model."""
    return url.rpartition("/")[2]


MODELS = ("linear", "svm", "mlp")
MemberUrl = Annotated[str, Field(pattern=r"^https?://[^/]+/v2/models/[\w.-]+$")]


class JobSettings(BaseSettings):
    """Where jobs are kept."""

    redis_url: RedisUrl = Field(SecretStr("redis://127.0.0.1:6306/0"), description="may hold a password")
    job_ttl_seconds: int = Field(3_600, gt=0, description="how long a job is kept, and can be looked up")


class StoreSettings(JobSettings, store.StoreSettings):
    """Where jobs and pictures are kept."""


class VoteSettings(BaseSettings):
    """Who votes, and what comes of it."""

    members: Annotated[
        list[MemberUrl], NoDecode, BeforeValidator(_listed), Field(min_length=1), AfterValidator(_without_doubles)
    ] = Field(
        [
            f"http://127.0.0.1:{port}/v2/models/{name}"
            for port, name in ((8161, "linear"), (8162, "svm"), (8163, "mlp"))
        ],
        description="the models' addresses, separated by commas",
    )
    quorum: int = Field(2, gt=0, description="how many must answer (`deadline`), or agree (`quorum`, and jobs)")
    aggregation: Aggregation = Field("mean", description="what the votes become")
    weights: Annotated[dict[str, Annotated[float, Field(ge=0)]], NoDecode, BeforeValidator(_weighted)] = Field(
        {"linear": 0.9356, "svm": 0.9956, "mlp": 0.9911},
        description="of votes, for `weighted`: by default each model's share of held-out scans read right; others 1",
    )

    @property
    def names(self) -> list[str]:
        """The members."""
        return [name_of(url) for url in self.members]

    @field_validator("quorum")
    @classmethod
    def _can_be_reached(cls, quorum: int, info: ValidationInfo) -> int:
        members = info.data.get("members")  # missing where they are wrong themselves
        if members and quorum > len(members):
            raise ValueError(f"expected at most {len(members)}, the number of MEMBERS")
        return quorum


class ProxySettings(CallerSettings, InputSettings, StoreSettings, VoteSettings):
    """Who asks all at once."""

    policy: Policy = Field("deadline", description="what is done about members that are slow or dead")
    retrieval: Literal["proxy", "predictor"] = Field("proxy", description="who gets stored pictures from the store")
    max_open_jobs: int = Field(10_000, gt=0, description="jobs that are not closed; one more is a 429")
    job_deadline_seconds: float = Field(10.0, gt=0, description="then a job is closed with the answers that there are")


class PredictorSettings(PredictSettings, StoreSettings):
    """A member: one model, asked directly, and reading jobs from the stream."""

    lease_seconds: float = Field(5.0, gt=0, description="another process takes jobs whose lease is older")
    max_attempts: int = Field(3, gt=0, description="so many processes may end over a job; then the answer is an error")


class PostProcessorSettings(ServiceSettings, JobSettings, VoteSettings):
    """Who manages the lag between the answers to a job."""

    early_model: str = Field("linear", description="the next action starts as soon as this member has answered")

    @field_validator("early_model")
    @classmethod
    def _votes(cls, early_model: str, info: ValidationInfo) -> str:
        names = [name_of(url) for url in info.data.get("members", [])]
        if names and early_model not in names:
            raise ValueError(f"expected one of MEMBERS: {', '.join(names)}")
        return early_model
