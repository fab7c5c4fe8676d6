"""What the Compose file and the Kubernetes manifests of a pattern hold."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import ROOT


@cache
def documents(file: Path) -> list[Any]:
    """What a YAML file holds; by libyaml, and once, since the parser in Python takes most of a test's time."""
    return list(yaml.load_all(file.read_text(), yaml.CSafeLoader))


def compose(pattern: str) -> Any:
    """The services of a compose file, without the variants that a profile holds back."""
    services = documents(ROOT / pattern / "docker-compose.yml")[0]["services"]
    return {name: service for name, service in services.items() if "profiles" not in service}


def manifests(pattern: str, *kinds: str) -> list[Any]:
    every = documents(ROOT / pattern / "k8s.yaml")
    return [manifest for manifest in every if not kinds or manifest["kind"] in kinds]


def names(pattern: str, *kinds: str) -> set[str]:
    return {manifest["metadata"]["name"] for manifest in manifests(pattern, *kinds)}


def pods(pattern: str) -> list[Any]:
    return [workload["spec"]["template"] for workload in manifests(pattern, "Deployment", "StatefulSet")]


def our_pods(pattern: str) -> list[Any]:
    """Those that have our image: all but Redis."""
    return [pod for pod in pods(pattern) if pod["spec"]["containers"][0]["image"].startswith(f"{pattern}:")]


def job_pods(pattern: str) -> list[Any]:
    """Those that come by the clock, and end."""
    return [job["spec"]["jobTemplate"]["spec"]["template"] for job in manifests(pattern, "CronJob")]


def containers(pods: list[Any]) -> list[Any]:
    return [container for pod in pods for container in pod["spec"]["containers"]]
