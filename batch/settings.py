"""The environment variables of the two programs: the manager and the job."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from common.inference.settings import MODELS
from common.service.settings import ProgramSettings, ServiceSettings


class JobSettings(ProgramSettings):
    """How a job works, whatever it is about."""

    model_uri: str = Field(str(MODELS / "mlp.onnx"), description="path or http(s) URL of an ONNX file")
    model_sha256: str | None = Field(None, description="checked where it is set, and not empty")
    workers: int | None = Field(None, gt=0, description="processes of the engine `local`; default: the CPU quota")
    chunk_rows: int = Field(100_000, gt=0, description="rows of a chunk: what is lost at most when a process dies")
    max_rejected_rows: int = Field(1_000, ge=0, description="rows set aside as no pictures; one more fails the run")
    dask_scheduler: str | None = Field(None, description="address of a Dask scheduler; default: a cluster of its own")
    spark_master: str = Field("local[*,3]", description="URL of a Spark master")


class ManagerSettings(ServiceSettings):
    """Who starts jobs by rules."""

    data_root: Path = Field(Path(".state/batch/data"), description="inputs and outputs lie inside it")
    manager_database: Path = Field(Path(".state/batch/manager.sqlite"), description="schedules and runs, SQLite")
    max_running: int = Field(1, gt=0, description="jobs at a time; others wait their turn")
    max_deaths: int = Field(5, gt=0, description="a run whose job dies so often, without a word, has failed")
    stop_seconds: float = Field(8.0, gt=0, description="how long a job that is told to end may take")
    tick_seconds: float = Field(0.5, gt=0, description="between two looks at schedules and runs")
    launcher: Literal["process", "docker"] = Field("process", description="what a job runs in")
    job_image: str = Field("serving-patterns-batch", description="LAUNCHER=docker: the image of the job")
    data_volume: str | None = Field(None, description="LAUNCHER=docker: volume or folder; default: that of DATA_ROOT")
    job_network: str = Field("none", description="LAUNCHER=docker: a cluster, or a model's address, needs one")
    job_memory: str = Field("1g", description="LAUNCHER=docker: the most that a job may take")
    job_cpus: float = Field(2.0, gt=0, description="LAUNCHER=docker: the most that a job may take")
