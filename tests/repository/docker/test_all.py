"""All six patterns at once, by one command; and one that follows its files."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.support.patterns.front_services import FRONT_SERVICES
from tests.support.processes import PATTERNS, ROOT, answers, free_port, output_of, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.full, pytest.mark.timeout(600)]


def test_make_up_starts_all_six_patterns_and_each_reads_a_digit() -> None:
    ports = {pattern: free_port() for pattern in FRONT_SERVICES}
    environment = {f"{pattern.upper()}_PORT": str(port) for pattern, port in ports.items()}
    environment |= {"WEB_SINGLE_GRPC_PORT": str(free_port()), "COMPOSE_PROJECT_NAME": f"test-{uuid4().hex[:8]}"}
    try:
        output_of("make", "up", folder=ROOT, **environment)
        digits = {pattern: FRONT_SERVICES[pattern].read(port)["digit"] for pattern, port in ports.items()}
    finally:
        output_of("docker", "compose", "down", "--volumes", "--timeout=0", folder=ROOT, **environment)
    assert digits == dict.fromkeys(FRONT_SERVICES, 7)


def page_of(port: int) -> str:
    """The page, or nothing while its container is replaced."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/").text
    except httpx.HTTPError:
        return ""


def test_with_watch_a_container_follows_a_change_of_its_files(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("common", *PATTERNS):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("docker-compose.yml", "docker-compose.env"):
        shutil.copy(ROOT / name, tmp_path)
    port = free_port()
    environment = {"WEB_SINGLE_PORT": str(port), "WEB_SINGLE_GRPC_PORT": str(free_port())}
    environment["COMPOSE_PROJECT_NAME"] = f"test-{uuid4().hex[:8]}"
    command = ("docker", "compose", "up", "--watch", "--build", "web_single")
    said = (tmp_path / "said.txt").open("wb")
    watching = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | environment, stdout=said, stderr=said, start_new_session=True
    )
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health/ready"), 120)
        wait_until(lambda: b"Watch enabled" in (tmp_path / "said.txt").read_bytes(), 30)
        diagram = tmp_path / "web_single" / "diagram.svg"
        diagram.write_text(diagram.read_text().replace('<desc id="description">', '<desc id="description">Changed. '))
        wait_until(lambda: "Changed. " in page_of(port), 120)
        label = f"--filter=label=com.docker.compose.project={environment['COMPOSE_PROJECT_NAME']}"
        wait_until(
            lambda: len(output_of("docker", "ps", "--all", "--quiet", label).split()) == 1
        )  # the old one is gone
    finally:
        os.killpg(watching.pid, signal.SIGKILL)  # Compose 2.26 goes on watching after Ctrl-C
        watching.wait(60)
        said.close()
        output_of("docker", "compose", "down", "--volumes", "--timeout=0", folder=tmp_path, **environment)
