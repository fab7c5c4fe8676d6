"""The patterns as those who use them know them: the front service, how it is asked for a digit, and the Procfile."""

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

import httpx

from common.settings import ServiceSettings
from tests.processes import ROOT, answers, free_port, running, wait_until

Ports = dict[str, int]
"""By the variable that sets them."""


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
    """The digit is what the votes became, and nobody's is missing."""
    assert not answer["missing"], answer
    return answer


class Front(NamedTuple):
    """A front service: its port unless told otherwise, where it takes pictures, and the digit in its answers."""

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


FRONTS = {
    "web_single": Front(8001, "/predict"),
    "synchronous": Front(8002, "/letters", sorted_letter),
    "asynchronous": Front(8003, "/jobs", prediction),
    "microservice_vertical": Front(8005, "/predict"),
    "microservice_horizontal": Front(8006, "/predict", voted),
}


def commands(pattern: str) -> dict[str, str]:
    """The commands of a pattern's Procfile by name; the front's name is the pattern's."""
    procfile = (ROOT / pattern / "Procfile").read_text()
    return dict(re.findall(r"^([\w-]+): (.+)$", procfile, re.MULTILINE))


def app_in(command: str) -> str:
    """`package.module:create_app` in a command, or nothing."""
    found = re.search(r"[\w.]+:create_app", command)
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


def free_ports(pattern: str) -> Ports:
    """A free port for every process of a pattern."""
    names = re.findall(rf"\$\{{({pattern.upper()}\w*_PORT):-", (ROOT / pattern / "Procfile").read_text())
    return {name: free_port() for name in sorted({*names})}


def copied(pattern: str, folder: Path) -> Path:
    """`cp -r common PATTERN folder/`"""
    for name in ("common", pattern):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@contextmanager
def started(pattern: str, folder: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], Ports]]:
    """All that a pattern's Procfile starts from a folder, on free ports but those given, once the front is ready."""
    ports = free_ports(pattern) | {name: int(port) for name, port in environment.items() if name.endswith("_PORT")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path} | {name: str(port) for name, port in ports.items()} | environment
    honcho = (sys.executable, "-m", "honcho", "-f", f"{pattern}/Procfile", "-d", ".", "start")
    with running(*honcho, folder=folder, **environment) as process:
        ready = f"http://127.0.0.1:{ports[f'{pattern.upper()}_PORT']}/health/ready"
        wait_until(lambda: process.poll() is not None or answers(ready))
        yield process, ports
