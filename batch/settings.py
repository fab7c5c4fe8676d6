"""The environment variables of the two programs: the manager and the job."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, create_model

from common import domain
from common.inference.settings import MODELS
from common.service.process.folders import LocalPath
from common.service.settings import ProgramSettings, ServiceSettings

COLUMNS = ("id", *domain.Input.model_fields, *(["image"] if domain.MEDIA_TYPES else []))
"""What a file has columns of."""

if TYPE_CHECKING:

    class ColumnSettings(ProgramSettings):
        """COLUMN_ID, COLUMN_PIXELS, …: the name that a column has in the files, if it is another."""

else:
    ColumnSettings = create_model(
        "ColumnSettings",
        __base__=ProgramSettings,
        **{
            f"column_{name}": (str | None, Field(None, min_length=1, description=f"the name of the column {name}"))
            for name in COLUMNS
        },
    )


class JobSettings(ColumnSettings):
    """Settings of the job. The manager passes them on."""

    model_uri: str = Field(str(MODELS / "mlp.onnx"), description="path or http(s) URL of an ONNX file")
    model_sha256: str | None = Field(None, description="checked if set and not empty")
    model_download_timeout_seconds: float = Field(
        30.0, gt=0, description="how long the download of a model URL may take"
    )
    batching: str = Field(
        "auto",
        pattern="^(auto|on|off)$",
        description="auto: rows share an inference if that is proved; on: trust the model",
    )
    workers: int | None = Field(None, gt=0, description="processes of the engine `local`; default: the CPU quota")
    chunk_rows: int = Field(100_000, gt=0, description="rows of a chunk: the most that a killed process loses")
    max_rejected_rows: int = Field(1_000, ge=0, description="rejected rows of a run; one more fails it")
    dask_scheduler: str | None = Field(None, description="address of a Dask scheduler; default: a local cluster")
    spark_master: str = Field("local[*,3]", description="URL of a Spark master")

    @property
    def column_names(self) -> dict[str, str]:
        """The columns that have another name in the files."""
        return {name: other for name in COLUMNS if (other := getattr(self, f"column_{name}"))}


class ManagerSettings(ServiceSettings):
    """Settings of the manager. It passes those of the job on, so it warns of their misspellings too."""

    data_root: LocalPath = Field(Path(".state/batch/data"), description="all inputs and outputs are inside it")
    manager_database: LocalPath = Field(Path(".state/batch/manager.sqlite"), description="schedules and runs, SQLite")
    max_concurrent_runs: int = Field(1, gt=0, description="jobs at a time; further runs stay queued")
    max_crashes: int = Field(5, gt=0, description="a run fails after this many jobs without a result")
    history_days: float = Field(90.0, gt=0, description="runs that ended earlier are deleted, with their logs")
    stop_timeout_seconds: float = Field(8.0, gt=0, description="from SIGTERM to SIGKILL for a job")
    poll_interval_seconds: float = Field(0.5, gt=0, description="between two ticks of the control loop")
    launcher: Literal["process", "docker"] = Field("process", description="what a job runs in")
    job_image: str = Field("serving-patterns-batch", description="LAUNCHER=docker: the image of the job")
    data_volume: str | None = Field(
        None, description="LAUNCHER=docker: volume or folder mounted as DATA_ROOT; default: DATA_ROOT"
    )
    job_network: str = Field("none", description="LAUNCHER=docker: needed for a cluster or a model URL")
    job_memory: str = Field("1g", description="LAUNCHER=docker: limit of a job")
    job_cpus: float = Field(2.0, gt=0, description="LAUNCHER=docker: limit of a job")

    @classmethod
    def find_mistyped(cls) -> Iterator[str]:
        """A sentence for each variable that is nearly a setting of the manager or of the job."""
        yield from super().find_mistyped()
        yield from JobSettings.find_mistyped()
