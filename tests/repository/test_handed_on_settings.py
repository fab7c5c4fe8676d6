"""Settings reach the services: by Procfile, Compose and Kubernetes, and only those that there are."""

import re
from collections.abc import Iterator

import pytest

from tests.support.patterns.env_files import ports_file, settings_file
from tests.support.patterns.manifests import compose, containers, documents, job_pods, our_pods
from tests.support.patterns.procfiles import app_in, commands, variables, variables_of_all
from tests.support.processes import PATTERNS, ROOT

NO_SETTINGS = {
    "MODELS_FOLDER",
    "ORT_DISABLE_TELEMETRY",
    "PATTERN_PORTS",
    "SERVICE_CPUS",
    "SERVICE_MEMORY",
    "TZ",
    "UVICORN_TIMEOUT_KEEP_ALIVE",
}
"""Variables that compose, onnxruntime, uvicorn, the C library or the page's tabs read, not our Settings."""

pytestmark = pytest.mark.parametrize("pattern", PATTERNS)


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
