"""Compose files, Procfiles and Kubernetes manifests, held against the schema, the settings and the app."""

import importlib
import re
import sys
from typing import Any

import kubernetes_validate
import pytest
import yaml

from common.healthcheck import is_ready
from tests.processes import PATTERNS, ROOT, free_port, running, wait_until

NO_SETTINGS = {"ORT_DISABLE_TELEMETRY", "SERVICE_CPUS", "SERVICE_MEMORY"}
"""Variables that compose or onnxruntime reads, not our Settings; and the ports on the host: `PATTERN_PORT`."""

pytestmark = pytest.mark.parametrize("pattern", PATTERNS)


def settings_of(pattern: str) -> Any:
    return importlib.import_module(f"{pattern}.settings").Settings()


def manifests(pattern: str, kind: str = "") -> list[Any]:
    every = yaml.safe_load_all((ROOT / pattern / "k8s.yaml").read_text())
    return [manifest for manifest in every if not kind or manifest["kind"] == kind]


def pods(pattern: str) -> list[Any]:
    return [deployment["spec"]["template"] for deployment in manifests(pattern, "Deployment")]


def containers(pattern: str) -> list[Any]:
    return [container for pod in pods(pattern) for container in pod["spec"]["containers"]]


def test_every_variable_in_compose_kubernetes_and_procfile_is_a_setting(pattern: str) -> None:
    compose = (ROOT / pattern / "docker-compose.yml").read_text()
    procfile = (ROOT / pattern / "Procfile").read_text()
    used = {
        *re.findall(r"\$\{(\w+)", compose + procfile),
        *re.findall(r"(?<=[ :])([A-Z_]+)=", procfile),
        *(name for service in yaml.safe_load(compose)["services"].values() for name in service.get("environment", {})),
        *(variable["name"] for container in containers(pattern) for variable in container.get("env", [])),
    }
    known = {name.upper() for name in type(settings_of(pattern)).model_fields}
    assert "MODEL_URI" in used
    assert used <= known | NO_SETTINGS | {f"{pattern.upper()}_PORT", f"{pattern.upper()}_GRPC_PORT"}


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_kubernetes_manifests_fit_the_schema(pattern: str, version: str) -> None:
    for manifest in manifests(pattern):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_kubernetes_manifests_refer_to_each_other(pattern: str) -> None:
    """What a schema cannot see: with one name misspelt, a service has no pods and an autoscaler nothing to scale."""
    names = {deployment["metadata"]["name"] for deployment in manifests(pattern, "Deployment")}
    labels = [pod["metadata"]["labels"].items() for pod in pods(pattern)]
    ports = {port["name"] for container in containers(pattern) for port in container["ports"]}
    accounts = {account["metadata"]["name"] for account in manifests(pattern, "ServiceAccount")}
    services, budgets = manifests(pattern, "Service"), manifests(pattern, "PodDisruptionBudget")
    selectors = [service["spec"]["selector"] for service in services]
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in budgets]

    assert services
    assert len(budgets) == len(names)
    assert all(any(selector.items() <= pod for pod in labels) for selector in selectors)
    assert {port["targetPort"] for service in services for port in service["spec"]["ports"]} <= ports
    assert {pod["spec"]["serviceAccountName"] for pod in pods(pattern)} <= accounts
    scaled = {hpa["spec"]["scaleTargetRef"]["name"] for hpa in manifests(pattern, "HorizontalPodAutoscaler")}
    assert scaled == names


def test_a_service_has_time_to_drain(pattern: str) -> None:
    """DRAIN_SECONDS and the longest request fit into what compose grants, and with preStop, Kubernetes."""
    settings = settings_of(pattern)
    needed = settings.drain_seconds + settings.max_request_timeout_ms / 1000
    base = yaml.safe_load((ROOT / "common" / "compose.yaml").read_text())["services"]["service"]
    assert int(base["stop_grace_period"].removesuffix("s")) > needed
    for pod in pods(pattern):
        sleep = max(container["lifecycle"]["preStop"]["sleep"]["seconds"] for container in pod["spec"]["containers"])
        assert pod["spec"]["terminationGracePeriodSeconds"] > sleep + needed


def test_the_probes_of_the_manifest_are_endpoints_of_the_app(pattern: str) -> None:
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    paths = {container[probe]["httpGet"]["path"] for container in containers(pattern) for probe in probes}
    port = free_port()
    app = re.findall(rf"^{pattern}: .*?(\S+:create_app)", (ROOT / pattern / "Procfile").read_text(), re.MULTILINE)
    with running(sys.executable, "-m", "uvicorn", *app, "--factory", "--port", str(port)) as server:
        wait_until(lambda: server.poll() is not None or is_ready(port))
        assert all(is_ready(port, path) for path in paths)
    assert not is_ready(port)


def test_the_image_is_built_from_an_allow_list(pattern: str) -> None:
    """A file beside the code, such as one with secrets, cannot enter by mistake."""
    lines = (ROOT / pattern / "Dockerfile.dockerignore").read_text().splitlines()
    assert [line for line in lines if not line.startswith(("#", "!"))] == ["*"]
