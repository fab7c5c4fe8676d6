"""Compose files, Procfiles and Kubernetes manifests, held against each other, the schema, the settings and the apps."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from common.service.healthcheck import is_ready
from tests.support.patterns import (
    app_in,
    commands,
    copied,
    ports_file,
    settings_classes,
    settings_file,
    started,
    variables,
    variables_of_all,
)
from tests.support.processes import PATTERNS, ROOT, wait_until

NO_SETTINGS = {"MODELS_FOLDER", "ORT_DISABLE_TELEMETRY", "PATTERN_PORTS", "SERVICE_CPUS", "SERVICE_MEMORY", "TZ"}
"""Variables that compose, onnxruntime, the C library or the page's tabs read, not our Settings."""

pytestmark = pytest.mark.parametrize("pattern", PATTERNS)


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


def given(pattern: str) -> Iterator[tuple[str, set[str]]]:
    """Each app that the Procfile, compose or Kubernetes starts, and the variables that it is given there."""
    usual = app_in((ROOT / pattern / "Dockerfile").read_text())
    for command in commands(pattern).values():
        yield app_in(command), set(re.findall(r"(?:^| )([A-Z_]+)=", command))
    for service in compose(pattern).values():
        yield app_in(str(service.get("command"))) or usual, set(service.get("environment", {}))
    for container in containers(our_pods(pattern) + job_pods(pattern)):
        command = str(container.get("args") or container.get("command"))
        yield app_in(command) or usual, {variable["name"] for variable in container["env"]}


def test_every_variable_that_a_service_is_given_is_a_setting_of_it(pattern: str) -> None:
    every = [(app, taken) for app, taken in given(pattern) if taken]
    assert every
    for app, taken in every:
        assert taken <= set(variables(app)) | NO_SETTINGS, app


def test_every_variable_that_compose_and_procfile_read_is_a_setting_or_a_port(pattern: str) -> None:
    """Perhaps the setting or the port of one service: `READER_MODEL_URI`, `PATTERN_READER_PORT`."""
    text = "".join((ROOT / pattern / name).read_text() for name in ("docker-compose.yml", "Procfile"))
    settings = {name for name, _ in variables_of_all(pattern)}
    roles = {role.upper() for role in commands(pattern)} - {pattern.upper()}
    services = {pattern.upper(), *(f"{pattern.upper()}_{role}" for role in roles)}
    known = settings | {f"{role}_{setting}" for role in roles for setting in settings}
    known |= {f"{role}_{limit}" for role in roles for limit in ("CPUS", "MEMORY")}
    known |= {f"{service}{port}" for service in services for port in ("_PORT", "_GRPC_PORT")}
    assert set(re.findall(r"\$\{(\w+)", text)) <= known | NO_SETTINGS


def test_compose_hands_on_every_setting_of_a_pattern_from_the_shell(pattern: str) -> None:
    """By `settings.env`, to each service that runs our image, but for what compose sets itself."""
    assert (ROOT / pattern / "settings.env").read_text() == settings_file(pattern), "python -m tests.support.patterns"
    ours = {name: one for name, one in compose(pattern).items() if not str(one.get("image")).startswith("redis:")}
    assert {name for name, service in ours.items() if service.get("env_file") != "settings.env"} == set()


def test_compose_gives_the_front_service_the_ports_of_all_patterns(pattern: str) -> None:
    """By the root's file, for the links between their pages; alone, a pattern has none."""
    text = (ROOT / "docker-compose.env").read_text()
    assert text == ports_file(), "python -m tests.support.patterns"
    included = documents(ROOT / "docker-compose.yml")[0]["include"]
    assert {"path": f"{pattern}/docker-compose.yml", "env_file": "docker-compose.env"} in included
    assert compose(pattern)[pattern]["environment"]["PATTERN_PORTS"] == "${PATTERN_PORTS:-}"
    default = re.search(rf"{pattern}=\$\{{({pattern.upper()}_PORT:-\d+)\}}", text)
    assert default
    assert f"${{{default[1]}}}" in str(compose(pattern)[pattern]["ports"])
    assert f"${{{default[1]}}}" in commands(pattern)[pattern]


def test_readme_says_how_a_container_gets_a_model_of_ones_own(pattern: str) -> None:
    """By a setting that a service with the folder reads: `MODEL_URI`, or `READER_MODEL_URI` for one of several."""
    readme = (ROOT / pattern / "README.md").read_text()
    setting = re.search(r"`MODELS_FOLDER=\$PWD/my_models` and `(\w*MODEL_URI)=/models/mine\.onnx`", readme)
    assert setting
    assert any(":/models:ro" in mount for service in compose(pattern).values() for mount in service.get("volumes", ()))
    compose_file = (ROOT / pattern / "docker-compose.yml").read_text()
    settings = (ROOT / pattern / "settings.env").read_text().splitlines()
    assert setting[1] in settings or f"${{{setting[1]}:-" in compose_file


def test_procfile_compose_and_kubernetes_start_the_same_services(pattern: str) -> None:
    services = {pattern, *(f"{pattern}-{role}" for role in commands(pattern) if role != pattern)}
    assert set(compose(pattern)) == services
    assert names(pattern, "Deployment", "StatefulSet") == {service.replace("_", "-") for service in services}


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_kubernetes_manifests_fit_the_schema(pattern: str, version: str) -> None:
    for manifest in manifests(pattern):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_kubernetes_manifests_refer_to_each_other(pattern: str) -> None:
    """What a schema cannot see: with one name misspelt, a service has no pods and an autoscaler nothing to scale."""
    labels = [pod["metadata"]["labels"].items() for pod in pods(pattern)]
    ports = {port["name"] for container in containers(pods(pattern)) for port in container["ports"]}
    services, budgets = manifests(pattern, "Service"), manifests(pattern, "PodDisruptionBudget")
    selectors = [service["spec"]["selector"] for service in services]
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in budgets]
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in manifests(pattern, "NetworkPolicy")]
    scaled = [hpa["spec"]["scaleTargetRef"]["name"] for hpa in manifests(pattern, "HorizontalPodAutoscaler")]
    accounts = [pod["spec"]["serviceAccountName"] for pod in our_pods(pattern) + job_pods(pattern)]
    deployments = [one["metadata"]["name"] for one in manifests(pattern, "Deployment") if "replicas" not in one["spec"]]
    volumes = [volume for pod in pods(pattern) + job_pods(pattern) for volume in pod["spec"].get("volumes", [])]
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]

    assert services
    assert len(budgets) == len(deployments)
    assert all(any(selector.items() <= pod for pod in labels) for selector in selectors)
    assert {port["targetPort"] for service in services for port in service["spec"]["ports"]} <= ports
    assert set(accounts) <= names(pattern, "ServiceAccount")
    assert sorted(scaled) == sorted(deployments)
    assert set(claims) == names(pattern, "PersistentVolumeClaim")
    assert {store["spec"]["serviceName"] for store in manifests(pattern, "StatefulSet")} <= names(pattern, "Service")


def test_every_address_in_the_kubernetes_manifests_is_that_of_a_service(pattern: str) -> None:
    secrets = {secret["metadata"]["name"]: secret["stringData"] for secret in manifests(pattern, "Secret")}
    variables = [variable for container in containers(our_pods(pattern)) for variable in container["env"]]
    keys = [variable["valueFrom"]["secretKeyRef"] for variable in variables if "valueFrom" in variable]
    keys = [key for key in keys if not key.get("optional")]  # a secret that the cluster's owner may add
    values = [variable["value"] for variable in variables if "value" in variable]
    values += [secrets[key["name"]][key["key"]] for key in keys]
    addresses = {(url.hostname, url.port or 80) for url in map(urlsplit, ",".join(values).split(",")) if url.hostname}
    assert addresses <= {
        (service["metadata"]["name"], port["port"])
        for service in manifests(pattern, "Service")
        for port in service["spec"]["ports"]
    }


def test_every_pod_runs_as_nobody_on_a_read_only_root(pattern: str) -> None:
    for pod in pods(pattern) + job_pods(pattern):
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert not pod["spec"]["automountServiceAccountToken"]
        for container in pod["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {*container["resources"]["requests"], *container["resources"]["limits"]} == {"cpu", "memory"}


def test_a_job_that_comes_by_a_clock_has_the_time_zone_of_the_clock(pattern: str) -> None:
    for cron in manifests(pattern, "CronJob"):
        for container in containers([cron["spec"]["jobTemplate"]["spec"]["template"]]):
            assert {"name": "TZ", "value": cron["spec"]["timeZone"]} in container["env"]


def test_every_store_keeps_what_it_has_acknowledged_and_evicts_nothing(pattern: str) -> None:
    """With Docker as on Kubernetes."""
    composed = [service["command"] for service in compose(pattern).values() if "redis" in service.get("image", "")]
    stores = [container["args"] for container in containers(pods(pattern)) if "redis" in container["image"]]
    assert composed == stores
    for command in map(" ".join, stores):
        assert "--appendonly yes --appendfsync always" in command
        assert "--maxmemory-policy noeviction" in command


def test_a_service_has_time_to_drain(pattern: str) -> None:
    """DRAIN_SECONDS and the longest request fit into what compose grants, and with preStop, Kubernetes."""
    every = [settings() for settings in settings_classes(pattern)]
    needed = max(settings.drain_seconds + settings.max_request_timeout_ms / 1000 for settings in every)
    base = yaml.safe_load((ROOT / "common" / "compose.yaml").read_text())["services"]["service"]
    assert int(base["stop_grace_period"].removesuffix("s")) > needed
    for pod in our_pods(pattern):
        sleep = max(container["lifecycle"]["preStop"]["sleep"]["seconds"] for container in pod["spec"]["containers"])
        assert pod["spec"]["terminationGracePeriodSeconds"] > sleep + needed


@pytest.mark.full
def test_the_probes_of_the_manifest_are_endpoints_of_the_apps(pattern: str, tmp_path: Path) -> None:
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    with started(pattern, copied(pattern, tmp_path), DRAIN_SECONDS="0") as (_, ports):
        asked = {
            (ports[f"{container['name'].replace('-', '_').upper()}_PORT"], container[probe]["httpGet"]["path"])
            for container in containers(our_pods(pattern))
            for probe in probes
        }
        wait_until(lambda: all(is_ready(port, path) for port, path in asked))  # some begin later than the front
    assert not any(is_ready(port) for port, _ in asked)


def test_the_image_is_built_from_an_allow_list(pattern: str) -> None:
    """A file beside the code, such as one with secrets, cannot enter by mistake."""
    lines = (ROOT / pattern / "Dockerfile.dockerignore").read_text().splitlines()
    assert [line for line in lines if not line.startswith(("#", "!"))] == ["*"]
