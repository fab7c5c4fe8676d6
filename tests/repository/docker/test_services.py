"""The images and the compose files of the patterns that are several services, on a real engine."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.docker import NOT_INSIDE, Composed, inside, inspect, process_file
from tests.support.patterns.env_files import passed_on
from tests.support.patterns.front_services import FRONT_SERVICES
from tests.support.patterns.procfiles import commands
from tests.support.processes import PATTERNS, ROOT, output_of, wait_until
from tests.support.samples import SEVEN_PIXELS

pytestmark = [pytest.mark.docker, pytest.mark.full, pytest.mark.timeout(600)]

MODELS = {
    "synchronous": {"mlp"},
    "asynchronous": {"mlp"},
    "batch": {"mlp"},
    "microservice_vertical": {"quality", "mlp", "specialist"},
    "microservice_horizontal": {"linear", "svm", "mlp", "specialist"},
}
WITHOUT_A_MODEL = {*MODELS, "asynchronous-delivery", "microservice_horizontal-postprocessor"}
GRPC = "grpc://synchronous-predictor:9001/v2/models/mlp"


each_pattern = pytest.mark.parametrize("project", MODELS, indirect=True, scope="package")
of_synchronous, of_asynchronous = (
    pytest.mark.parametrize("project", [pattern], indirect=True, scope="package")
    for pattern in ("synchronous", "asynchronous")
)


@pytest.fixture(scope="module")
def pattern(project: Composed) -> str:
    return project.service


@pytest.fixture(scope="module")
def ours(pattern: str, project: Composed) -> dict[str, str]:
    """The containers of our own services by name, the front's first."""
    roles = [role for role in commands(pattern) if role not in (pattern, "redis")]
    return {name: project.container(name) for name in (pattern, *(f"{pattern}-{role}" for role in roles))}


@pytest.mark.parametrize("name", PATTERNS)
def test_compose_hands_every_setting_on_to_every_service(name: str) -> None:
    config = output_of(
        "docker", "compose", "config", "--format=json", folder=ROOT, **dict.fromkeys(passed_on(name), "1")
    )
    services = {one: service for one, service in json.loads(config)["services"].items() if one.split("-")[0] == name}
    services.pop(f"{name}-redis", None)
    assert all({*passed_on(name)} <= service["environment"].keys() for service in services.values())


def test_a_cluster_of_the_shell_takes_the_place_of_the_one_that_compose_starts() -> None:
    clusters = {"DASK_SCHEDULER": "tcp://dask.example:8786", "SPARK_MASTER": "spark://spark.example:7077"}
    config = output_of("docker", "compose", "--profile=*", "config", "--format=json", folder=ROOT, **clusters)
    services = json.loads(config)["services"]
    for name, service in {"DASK_SCHEDULER": "batch-dask", "SPARK_MASTER": "batch-spark"}.items():
        assert services[service]["environment"][name] == clusters[name]


@each_pattern
def test_the_front_reads_a_digit(pattern: str, project: Composed) -> None:
    assert FRONT_SERVICES[pattern].read(project.port)["digit"] == 7


@each_pattern
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
        assert host["Init"]


@each_pattern
def test_each_service_of_ours_is_nobody_without_capabilities(ours: dict[str, str]) -> None:
    for container in ours.values():
        status = dict(line.split(":", 1) for line in process_file(container, "status").splitlines())
        assert status["Uid"].split() == ["10001"] * 4
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0


@each_pattern
def test_only_the_front_is_published_and_only_on_this_host(pattern: str, project: Composed) -> None:
    front = project.container(pattern)
    for container in project.containers():
        found = inspect(container)["NetworkSettings"]["Ports"]
        published = {port: hosts for port, hosts in found.items() if hosts}
        there = {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(project.port)}]}
        assert published == (there if container == front else {})


@each_pattern
def test_its_page_links_to_all_six_patterns_without_knowing_which_run(pattern: str, project: Composed) -> None:
    url = f"http://127.0.0.1:{project.port}"
    names = re.findall(r"<span(?: aria-current=\"page\")?>(\w+)</span>", httpx.get(url).text.partition("</nav>")[0])
    assert names == list(FRONT_SERVICES)
    ports = {name: front.port for name, front in FRONT_SERVICES.items()} | {pattern: project.port}
    assert httpx.get(f"{url}/{'page' if pattern == 'batch' else 'playground'}/patterns").json() == [
        {"name": name, "port": port, "running": None, "current": name == pattern} for name, port in ports.items()
    ]


@each_pattern
def test_the_front_is_published_on_its_own_port(pattern: str) -> None:
    (port,) = json.loads(output_of("docker", "compose", "config", "--format=json"))["services"][pattern]["ports"]
    assert (port["host_ip"], port["published"]) == ("127.0.0.1", str(FRONT_SERVICES[pattern].port))


@each_pattern
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


@each_pattern
def test_onnxruntime_is_loaded_where_a_model_is_and_nowhere_else(pattern: str, ours: dict[str, str]) -> None:
    loaded = {name: process_file(container, "maps") for name, container in ours.items()}
    assert {name for name, libraries in loaded.items() if "onnxruntime" in libraries} == set(ours) - WITHOUT_A_MODEL


@of_asynchronous
def test_the_queue_is_reached_from_no_other_network_and_reaches_none(project: Composed) -> None:
    networks = inspect(project.container("asynchronous-redis"))["NetworkSettings"]["Networks"]
    assert [inspect(network)["Internal"] for network in networks] == [True]


@of_asynchronous
def test_a_killed_predictor_loses_no_job_all_end_within_10_s_and_are_in_the_result_database_once(
    project: Composed,
) -> None:
    """A database on a volume, which outlives the delivery's container, too."""
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{project.port}", timeout=30) as client,
        ThreadPoolExecutor(1) as other,
    ):
        killing = other.submit(project.compose, "kill", "asynchronous-predictor")
        accepted = [client.post("/jobs", json={"pixels": SEVEN_PIXELS}) for _ in range(200)]
        while not killing.done():
            accepted.append(client.post("/jobs", json={"pixels": SEVEN_PIXELS}))
        killing.result()
        accepted.append(client.post("/jobs", json={"pixels": SEVEN_PIXELS}))
        assert {answer.status_code for answer in accepted} == {202}
        assert client.get(accepted[-1].headers["location"]).json()["status"] == "queued"
        project.compose("start", "asynchronous-predictor")
        began = time.monotonic()
        jobs = [client.get(f"{answer.headers['location']}?wait=20").json() for answer in accepted]
    assert [(job["status"], job["prediction"]["digit"]) for job in jobs] == [("done", 7)] * len(accepted)
    assert time.monotonic() - began < 10  # a lease of 5 s of the killed one, and the start of the next

    project.compose("up", "--detach", "--no-deps", "--force-recreate", "asynchronous-delivery")
    ids = [job["job_id"] for job in jobs]
    assert wait_until(lambda: stored(project, ids)) == {job_id: [7] for job_id in ids}


def stored(project: Composed, ids: list[str]) -> dict[str, list[int]]:
    """The digits of these jobs in the result database, once all are there."""
    query = "import sqlite3; print(sqlite3.connect('/results/results.sqlite').execute("
    query += "'SELECT json_group_array(json_array(job_id, digit)) FROM results').fetchone()[0])"
    rows = json.loads(inside(project.container("asynchronous-delivery"), query))
    found: dict[str, list[int]] = {job_id: [] for job_id in ids}
    for job_id, digit in rows:
        found.get(job_id, []).append(digit)
    return found if all(found.values()) else {}


@of_synchronous
@pytest.mark.parametrize("how", ["hang", "kill"])
def test_make_break_breaks_and_heals_a_container(project: Composed, how: str) -> None:
    def inject(fault: str) -> None:
        command = ("make", "break", "SERVICE=synchronous-predictor", f"HOW={fault}")
        output_of(*command, folder=project.folder, **project.environment)

    def bin_is(name: str) -> bool:
        letter = httpx.post(f"http://127.0.0.1:{project.port}/letters", json={"pixels": SEVEN_PIXELS}, timeout=10)
        return bool(letter.json()["bin"] == name)

    inject(how)
    assert bin_is("manual")
    inject("heal")
    wait_until(lambda: bin_is("7"))


@of_synchronous
def test_make_break_slows_a_container_down_until_its_terminal_closes(project: Composed) -> None:
    def bin_within(milliseconds: str) -> object:
        url, headers = f"http://127.0.0.1:{project.port}/letters", {"X-Request-Timeout-Ms": milliseconds}
        return httpx.post(url, json={"pixels": SEVEN_PIXELS}, headers=headers, timeout=10).json()["bin"]

    command = (sys.executable, "-m", "common.inject_fault", "synchronous-predictor", "slow")
    with subprocess.Popen(command, cwd=project.folder, env=os.environ | project.environment) as slow:
        wait_until(lambda: bin_within("50") == "manual")
        wait_until(lambda: bin_within("5000") == "7")  # slow, not hung
        slow.send_signal(signal.SIGHUP)
        assert slow.wait(10) == 0
    assert "synchronous-predictor" in project.compose("ps", "--services", "--status", "running").split()
    wait_until(lambda: bin_within("2000") == "7")


@of_synchronous
def test_one_setting_makes_the_flow_ask_over_grpc(project: Composed) -> None:
    project.compose("up", "--detach", "--no-deps", "--wait", "synchronous", PREDICTOR_URL=GRPC)
    assert FRONT_SERVICES["synchronous"].read(project.port)["digit"] == 7
    assert "ModelInfer" in project.compose("logs", "synchronous-predictor")
    project.compose("up", "--detach", "--no-deps", "--wait", "synchronous")


@of_synchronous
def test_a_container_that_is_stopped_while_it_starts_or_serves_needs_no_kill(project: Composed) -> None:
    """Without an init, SIGTERM would be ignored until the service handles it: 40 s, and 137."""
    container = project.container("synchronous-predictor")
    project.compose("stop", "synchronous-predictor")
    assert inspect(container)["State"]["ExitCode"] == 0
    output_of("docker", "start", container)
    output_of("docker", "stop", container)
    assert inspect(container)["State"]["ExitCode"] == 128 + signal.SIGTERM
    project.compose("up", "--detach", "--no-deps", "--wait", "synchronous-predictor")
    wait_until(lambda: FRONT_SERVICES["synchronous"].read(project.port)["digit"] == 7)
