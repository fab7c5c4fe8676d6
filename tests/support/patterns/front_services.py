"""The patterns as those who use them know them: the front service, how it is asked for a digit, and the Procfile."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints
from uuid import uuid4

import httpx
import yaml
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from batch.settings import JobSettings
from common.service.settings import ServiceSettings
from tests.support.processes import PATTERNS, ROOT, answers, free_port, output_of, running, wait_until

Ports = dict[str, int]
"""By the variable that sets them."""
JOB = "batch.job"
"""A program that is no app."""


def whole(answer: Any) -> Any:
    """The digit is the answer."""
    return answer


def sorted_letter(answer: Any) -> Any:
    """The digit is the prediction in the answer, and the letter went into its bin."""
    assert answer["bin"] == str(answer["prediction"]["digit"])
    return answer["prediction"]


def prediction(job: Any) -> Any:
    """The digit is that of a job that is done."""
    assert job["status"] == "done", job
    return job["prediction"]


def voted(answer: Any) -> Any:
    """The digit is what the votes became, and none is missing."""
    assert not answer["missing"], answer
    return answer


class FrontService(NamedTuple):
    """A front service: its default port, where it takes pictures, and the digit in its answers."""

    port: int
    path: str
    digit_in: Callable[[Any], Any] = whole

    def read(self, port: int, picture: str = "seven.png") -> Any:
        """What the service on this port reads in one of the sample pictures, with nothing missing."""
        content = (ROOT / "common" / "samples" / picture).read_bytes()
        url = f"http://127.0.0.1:{port}{self.path}"
        response = httpx.post(url, content=content, headers={"Content-Type": "image/png"}, timeout=10)
        if response.status_code == 202:  # a job, whose digit is fetched where it says
            url = f"http://127.0.0.1:{port}{response.headers['Location']}?wait=20"
            response = httpx.get(url, timeout=30)
        assert response.status_code == 200, response.text
        assert not response.json().get("degraded"), response.text
        return self.digit_in(response.json())


class BatchFrontService(FrontService):
    """It reads what is in a folder that it sees: beside it in its container, or on this machine."""

    def read(self, port: int, picture: str = "seven.png") -> Any:
        content = (ROOT / "common" / "samples" / picture).read_bytes()
        folder = f"test-{uuid4().hex[:8]}"
        beside(port, PUT, folder, content.hex())
        url = f"http://127.0.0.1:{port}{self.path}"
        response = httpx.post(url, json={"input": f"{folder}/scans", "output": f"{folder}/readings"}, timeout=10)
        assert response.status_code == 201, response.text
        run = finished(url, response.json()["id"])
        assert run["state"] == "done", run
        return json.loads(beside(port, GET, folder))


PUT = """
import sys, pathlib, pyarrow, pyarrow.parquet
from batch.settings import ManagerSettings
file = ManagerSettings().data_root / sys.argv[1] / "scans" / "scan.parquet"
file.parent.mkdir(parents=True)
pyarrow.parquet.write_table(pyarrow.table({"id": [1], "image": [bytes.fromhex(sys.argv[2])]}), file)"""
GET = """
import sys, json, pyarrow.parquet
from batch.settings import ManagerSettings
(row,) = pyarrow.parquet.read_table(ManagerSettings().data_root / sys.argv[1] / "readings").to_pylist()
print(json.dumps(row))"""


def beside(port: int, code: str, *arguments: str) -> str:
    """What Python code prints where the batch manager of this port is, with its environment."""
    if shutil.which("docker"):
        named = ("docker", "ps", "--quiet", f"--filter=publish={port}")
        found = subprocess.run(named, capture_output=True, text=True).stdout.split()
        if found:
            return output_of("docker", "exec", found[0], "python", "-c", code, *arguments)
    process = next(process for process in Path("/proc").glob("[0-9]*") if is_manager(process, port))
    variables = (process / "environ").read_text().split("\0")
    environment = dict(variable.split("=", 1) for variable in variables if "=" in variable)
    return output_of(sys.executable, "-c", code, *arguments, folder=(process / "cwd").resolve(), **environment)


def is_manager(process: Path, port: int) -> bool:
    try:
        command = (process / "cmdline").read_text().split("\0")
    except OSError:
        return False  # it has ended
    return {"batch.manager:create_app", str(port)} <= {*command}


def finished(url: str, run_id: str, seconds: float = 60.0) -> Any:
    """A run that is neither waiting nor running any more."""
    with httpx.Client(base_url=url) as client:
        wait_until(lambda: client.get(f"/{run_id}").json()["state"] not in ("queued", "running"), seconds)
        return client.get(f"/{run_id}").json()


FRONT_SERVICES: dict[str, FrontService] = {
    "web_single": FrontService(8001, "/predict"),
    "synchronous": FrontService(8002, "/letters", sorted_letter),
    "asynchronous": FrontService(8003, "/jobs", prediction),
    "batch": BatchFrontService(8004, "/runs"),
    "microservice_vertical": FrontService(8005, "/predict"),
    "microservice_horizontal": FrontService(8006, "/predict", voted),
}


def commands(pattern: str) -> dict[str, str]:
    """The commands of a pattern's Procfile by name; the front's name is the pattern's."""
    procfile = (ROOT / pattern / "Procfile").read_text()
    return dict(re.findall(r"^([\w-]+): (.+)$", procfile, re.MULTILINE))


def app_in(command: str) -> str:
    """`package.module:create_app` in a command, or the batch job, or nothing."""
    found = re.search(r"[\w.]+:create_app", command) or re.search(rf"{re.escape(JOB)}\b", command)
    return found[0] if found else ""


def settings_of(app: str) -> type[ServiceSettings]:
    """The settings that an app takes."""
    module, _, function = app.partition(":")
    choices = get_args(get_type_hints(getattr(import_module(module), function))["settings"])
    settings: type[ServiceSettings] = next(choice for choice in choices if choice is not NoneType)
    return settings


def settings_classes(pattern: str) -> list[type[ServiceSettings]]:
    """The settings of each kind of service that a pattern starts."""
    apps = sorted({app_in(command) for command in commands(pattern).values()} - {""})
    return [settings_of(app) for app in apps]


def variables(app: str) -> dict[str, FieldInfo]:
    """The environment variables that an app takes; the batch manager hands those of its jobs on to them."""
    classes: list[type[BaseSettings]] = [settings_of(app)] if app != JOB else []
    if app in (JOB, "batch.manager:create_app"):
        classes.append(JobSettings)
    return {name.upper(): field for settings in classes for name, field in settings.model_fields.items()}


def variables_of_all(pattern: str) -> list[tuple[str, FieldInfo]]:
    """Those of each kind of service that a pattern starts; what several take is there several times."""
    apps = sorted({app_in(command) for command in commands(pattern).values()} - {""})
    return [variable for app in apps for variable in variables(app).items()]


SET_BY_THE_IMAGE = {"DATA_ROOT", "GRPC_HOST", "GRPC_PORT", "MANAGER_DATABASE", "RESULTS_DATABASE"}
"""Addresses and folders inside the container, which do not follow those outside."""


def passed_on(pattern: str) -> list[str]:
    """The environment variables that all of a pattern's containers get from the shell, where it has them.

    Not those that compose gives to some of them: `MEMBERS` of the proxy is to change no member.
    """
    services = yaml.safe_load((ROOT / pattern / "docker-compose.yml").read_text())["services"].values()
    given = {name for service in services for name in service.get("environment", {})}
    return sorted({"UVICORN_ROOT_PATH", *(name for name, _ in variables_of_all(pattern))} - given - SET_BY_THE_IMAGE)


def settings_file(pattern: str) -> str:
    """What `PATTERN/settings.env` must say."""
    head = "# What Compose hands on from the shell, if set there. Written by `python -m tests.support.patterns`.\n"
    return head + "".join(f"{name}\n" for name in passed_on(pattern))


def ports_file() -> str:
    """What the root's `docker-compose.env` must say."""
    fronts = sorted(FRONT_SERVICES.items(), key=lambda item: item[1].port)
    ports = ",".join(f"{name}=${{{name.upper()}_PORT:-{front.port}}}" for name, front in fronts)
    head = "# The ports of all patterns, for the links between pages. Written by `python -m tests.support.patterns`."
    return f"{head}\nPATTERN_PORTS={ports}\n"


def free_ports(pattern: str) -> Ports:
    """A free port for every process of a pattern."""
    names = re.findall(rf"\$\{{({pattern.upper()}\w*_PORT):-", (ROOT / pattern / "Procfile").read_text())
    return {name: free_port() for name in sorted({*names})}


def copied(pattern: str, folder: Path) -> Path:
    """`cp -r common PATTERN folder/`"""
    for name in ("common", pattern):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def predictor_over(scheme: str) -> dict[str, str]:
    """Settings with which the proxy of `synchronous` calls its predictor over REST (`http`) or gRPC (`grpc`)."""
    ports = {"http": free_port(), "grpc": free_port()}
    return {
        "SYNCHRONOUS_PREDICTOR_PORT": str(ports["http"]),
        "GRPC_PORT": str(ports["grpc"]),
        "PREDICTOR_URL": f"{scheme}://127.0.0.1:{ports[scheme]}/v2/models/mlp",
    }


@contextmanager
def started(pattern: str, folder: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], Ports]]:
    """All that a pattern's Procfile starts from a folder, on free ports but those given, once the front is ready."""
    ports = free_ports(pattern) | {name: int(port) for name, port in environment.items() if name.endswith("_PORT")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path} | {name: str(port) for name, port in ports.items()} | environment
    with running(sys.executable, "-m", "common.run", f"{pattern}/Procfile", folder=folder, **environment) as process:
        ready = f"http://127.0.0.1:{ports[f'{pattern.upper()}_PORT']}/health/ready"
        wait_until(lambda: process.poll() is not None or answers(ready))
        yield process, ports


if __name__ == "__main__":
    for name in PATTERNS:
        (ROOT / name / "settings.env").write_text(settings_file(name))
    (ROOT / "docker-compose.env").write_text(ports_file())
