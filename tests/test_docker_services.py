"""The images and the compose files of the patterns that are several services, on a real engine."""

import json
from collections.abc import Iterator

import pytest

from tests.fronts import FRONTS, commands
from tests.processes import ROOT, Composed, composed, inside, inspect, output_of
from tests.test_docker import NOT_INSIDE

pytestmark = [pytest.mark.docker, pytest.mark.full, pytest.mark.timeout(600)]

MODELS = {"synchronous": {"mlp"}, "microservice_vertical": {"quality", "mlp", "specialist"}}
GRPC = "grpc://synchronous-predictor:9001/v2/models/mlp"


@pytest.fixture(scope="module", params=MODELS)
def pattern(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def project(pattern: str) -> Iterator[Composed]:
    """All of a pattern, shared by the tests, which only look."""
    with composed(ROOT, service=pattern) as project:
        yield project


@pytest.fixture(scope="module")
def ours(pattern: str, project: Composed) -> dict[str, str]:
    """The containers of our own services by name, the front's first."""
    roles = [role for role in commands(pattern) if role not in (pattern, "redis")]
    return {name: project.container(name) for name in (pattern, *(f"{pattern}-{role}" for role in roles))}


def test_the_front_reads_a_digit(pattern: str, project: Composed) -> None:
    assert FRONTS[pattern].read(project.port)["digit"] == 7


def test_every_container_is_hardened_limited_and_healthy(pattern: str, project: Composed) -> None:
    assert len(project.containers()) == len(commands(pattern))
    for found in map(inspect, project.containers()):
        host = found["HostConfig"]
        assert found["State"]["Health"]["Status"] == "healthy"
        assert found["Config"]["User"] in ("10001:10001", "redis")
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["NanoCpus"]
        assert host["Memory"]


def test_each_service_of_ours_is_nobody_without_capabilities(ours: dict[str, str]) -> None:
    for container in ours.values():
        lines = inside(container, "print(open('/proc/1/status').read())").splitlines()
        status = dict(line.split(":", 1) for line in lines)
        assert status["Uid"].split() == ["10001"] * 4
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0


def test_only_the_front_is_published_and_only_on_this_host(pattern: str, project: Composed) -> None:
    front = project.container(pattern)
    for container in project.containers():
        found = inspect(container)["NetworkSettings"]["Ports"]
        published = {port: hosts for port, hosts in found.items() if hosts}
        there = {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(project.port)}]}
        assert published == (there if container == front else {})


def test_the_front_is_published_on_its_own_port(pattern: str) -> None:
    (port,) = json.loads(output_of("docker", "compose", "config", "--format=json"))["services"][pattern]["ports"]
    assert (port["host_ip"], port["published"]) == ("127.0.0.1", str(FRONTS[pattern].port))


def test_who_is_in_the_clients_network_reaches_the_front_alone(pattern: str, project: Composed) -> None:
    network = inspect(f"{project.environment['COMPOSE_PROJECT_NAME']}_{pattern}")
    assert list(network["Containers"]) == [project.container(pattern)]


def test_its_models_and_only_what_serves_are_in_the_image(pattern: str, ours: dict[str, str]) -> None:
    code = f"""
import importlib.util, json, pathlib
def there(name):
    try: return importlib.util.find_spec(name)
    except ModuleNotFoundError: return None
app = pathlib.Path("/app")
print(json.dumps([
    [*filter(there, {NOT_INSIDE}), *map(str, pathlib.Path("/").glob("*/.cache/*"))],
    sorted(path.name for path in app.iterdir()),
    sorted(path.stem for path in app.rglob("*.onnx"))]))"""
    for container in ours.values():
        assert json.loads(inside(container, code)) == [[], sorted(["common", pattern]), sorted(MODELS[pattern])]


def test_onnxruntime_is_loaded_where_a_model_is_and_nowhere_else(pattern: str, ours: dict[str, str]) -> None:
    loaded = {name: inside(container, "print(open('/proc/1/maps').read())") for name, container in ours.items()}
    assert {name for name, libraries in loaded.items() if "onnxruntime" in libraries} == set(ours) - {pattern}


def test_one_setting_makes_the_flow_ask_over_grpc() -> None:
    with composed(ROOT, service="synchronous", PREDICTOR_URL=GRPC) as project:
        assert FRONTS["synchronous"].read(project.port)["digit"] == 7
        assert "ModelInfer" in project.compose("logs", "synchronous-predictor")
