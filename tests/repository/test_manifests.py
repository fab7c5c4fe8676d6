"""The Kubernetes manifests, held against the schema, each other, Compose, the settings and the apps."""

from pathlib import Path
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from common.service.process.healthcheck import is_ready
from tests.support.patterns.manifests import compose, containers, job_pods, manifests, names, our_pods, pods
from tests.support.patterns.procfiles import commands, settings_classes
from tests.support.patterns.start import copied, started
from tests.support.processes import PATTERNS, ROOT, wait_until

pytestmark = pytest.mark.parametrize("pattern", PATTERNS)


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
