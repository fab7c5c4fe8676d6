"""Starting a pattern as its users do: copied into an empty folder, by its Procfile, on free ports."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import ROOT, answers, free_port, running, wait_until

Ports = dict[str, int]
"""By the variable that sets them."""


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
