"""LAUNCHER=docker: each job is a container of the image JOB_IMAGE, which is removed when it has exited.

The container is named after the run, and Docker allows each name once: a run never has two jobs. The container survives
a manager that is killed. While Docker does not respond, a job counts as alive.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import docker
from docker.errors import DockerException, NotFound

from batch.command_line import Engine
from batch.launchers.launcher import LOG_BYTES, LaunchError
from batch.settings import JobSettings, ManagerSettings

LABEL = "serving-patterns.batch.run"
LIMITS = {
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "read_only": True,
    "tmpfs": {"/tmp": "size=256m"},
    "pids_limit": 256,
    "shm_size": "64m",
}


class DockerLauncher:
    """Jobs as containers."""

    def __init__(self, settings: ManagerSettings) -> None:
        self._settings = settings
        self._data_root = str(settings.data_root.resolve())
        self._stopped_at: dict[str, float] = {}

    @cached_property
    def _client(self) -> Any:
        return docker.from_env(timeout=10)

    def require_engine(self, engine: Engine) -> None:
        """Not known: JOB_IMAGE has it or not, and the job says so."""

    def start(self, run_id: str, arguments: Sequence[str]) -> int | None:
        """The container gets the data, the job settings of the manager's environment, and nothing else."""
        self._stopped_at.pop(run_id, None)
        settings = self._settings
        names = [name.upper() for name in JobSettings.model_fields]
        try:
            self._client.containers.run(
                settings.job_image,
                list(arguments),
                name=_name(run_id),
                labels={LABEL: run_id},
                entrypoint=["python", "-m", "batch.job", "run"],
                environment={name: os.environ[name] for name in names if name in os.environ},
                volumes={settings.data_volume or self._data_root: {"bind": self._data_root, "mode": "rw"}},
                network_mode=settings.job_network,
                mem_limit=settings.job_memory,
                nano_cpus=int(settings.job_cpus * 1e9),
                user=f"{os.getuid()}:{os.getgid()}",  # the owner of the data
                init=True,
                detach=True,
                **LIMITS,
            )
        except (DockerException, OSError) as error:
            if not self.is_alive(run_id):
                self._remove(run_id)
            raise LaunchError(f"the job could not be started: {error}") from None
        return None

    def is_alive(self, run_id: str) -> bool:
        """Whether its container exists and has not exited."""
        try:
            return self._container(run_id).status not in ("exited", "dead", "created")
        except NotFound:
            return False
        except (DockerException, OSError):
            return True

    def stop(self, run_id: str, timeout: float) -> None:
        """SIGTERM; after the timeout SIGKILL."""
        try:
            if run_id not in self._stopped_at:
                self._stopped_at[run_id] = time.monotonic()
                self._container(run_id).kill("SIGTERM")
            elif time.monotonic() > self._stopped_at[run_id] + timeout:
                self._container(run_id).kill()
        except (DockerException, OSError):
            pass  # it has just exited, or Docker does not respond: the next call tries again

    def clean_up(self, run_id: str) -> str:
        """Remove the container."""
        self._stopped_at.pop(run_id, None)
        try:
            printed: bytes = self._container(run_id).logs(tail=20)
        except (DockerException, OSError):
            printed = b""
        self._remove(run_id)
        return printed[-LOG_BYTES:].decode(errors="replace").strip()

    def remove_log(self, run_id: str) -> None:
        """Nothing: the log went with its container."""

    def _remove(self, run_id: str) -> None:
        with suppress(DockerException, OSError):
            self._container(run_id).remove(force=True)

    def _container(self, run_id: str) -> Any:
        return self._client.containers.get(_name(run_id))


def _name(run_id: str) -> str:
    return f"batch-run-{run_id}"
