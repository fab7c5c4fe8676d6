"""Images, containers and compose projects on a real Docker engine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.processes import free_port, output_of

NOT_INSIDE = (
    "sklearn",
    "scipy",
    "skl2onnx",
    "onnx",
    "pytest",
    "hypothesis",
    "pip",
    "common.training",
    "tests",
)


@dataclass(frozen=True)
class Composed:
    """A compose project: its folder, the environment of its commands, its front service, and that one's port."""

    folder: Path
    environment: dict[str, str]
    service: str
    port: int

    def compose(self, *arguments: str, **environment: str) -> str:
        return output_of("docker", "compose", *arguments, folder=self.folder, **self.environment | environment)

    def containers(self, *services: str) -> list[str]:
        """The ids of the containers that run, of these services or of all; `compose ps` would take 20 times as long."""
        project = f"--filter=label=com.docker.compose.project={self.environment['COMPOSE_PROJECT_NAME']}"
        filters = [f"--filter=label=com.docker.compose.service={service}" for service in services] or [project]
        listed = [output_of("docker", "ps", "--quiet", "--no-trunc", project, one) for one in filters]
        return "\n".join(listed).split()

    def container(self, service: str) -> str:
        """The id of the one container of this service."""
        (container,) = self.containers(service)
        return container


@contextmanager
def composed(
    folder: Path, file: str = "docker-compose.yml", service: str = "web_single", **environment: str
) -> Iterator[Composed]:
    """`docker compose up` in a folder, as a project of its own, on a free port."""
    port = free_port()
    environment |= {"COMPOSE_PROJECT_NAME": f"test-{uuid4().hex[:8]}", "COMPOSE_FILE": file}
    environment |= {f"{service.upper()}_PORT": str(port), f"{service.upper()}_GRPC_PORT": str(free_port())}
    project = Composed(folder, environment, service, port)
    try:
        project.compose("up", "--build", "--wait", service)
        yield project
    finally:
        project.compose("down", "--volumes", "--rmi=local", "--timeout=0")  # what a test claims of an end, it has seen


def inspect(thing: str) -> Any:
    """What Docker knows of a container or an image."""
    return json.loads(output_of("docker", "inspect", thing))[0]


def inside(container: str, code: str) -> str:
    """What Python code prints in a container."""
    return output_of("docker", "exec", container, "python", "-c", code)


def process_file(container: str, name: str) -> str:
    """What /proc says of a service that Compose started: the child of the container's init, which is PID 1."""
    code = f"""
child = open("/proc/1/task/1/children").read().split()[0]
print(open(f"/proc/{{child}}/{name}").read())"""
    return inside(container, code)
