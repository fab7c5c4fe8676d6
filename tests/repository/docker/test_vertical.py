"""The services of microservice_vertical are updated and scaled apart, and fail apart, on a real engine (V6)."""

import json
import os
import subprocess
import time
from typing import Any

import httpx
import pytest

from common.backends.http_client import IDLE_SECONDS
from tests.support.docker import Composed, inside, inspect
from tests.support.load.grpc_and_rest import load, rest_calls
from tests.support.patterns.front_services import FRONT_SERVICES
from tests.support.processes import ROOT, answers, wait_until
from tests.support.samples import SEVEN_PIXELS

FRONT, READER, SPECIALIST, REDIS = (f"microservice_vertical{role}" for role in ("", "-reader", "-specialist", "-redis"))
pytestmark = [
    pytest.mark.docker,
    pytest.mark.full,
    pytest.mark.timeout(600),
    pytest.mark.parametrize("project", [FRONT], indirect=True, scope="package"),
]
LOW_CONFIDENCE = json.loads((ROOT / "common" / "samples" / "low_confidence_letter.json").read_text())[0]
ANOTHER_MODEL = {"READER_MODEL_URI": "common/models/specialist.onnx"}
"""One that is in the image, and reads what the reader reads."""


def post(project: Composed, path: str, body: object) -> Any:
    answer = httpx.post(f"http://127.0.0.1:{project.port}{path}", json=body, timeout=10)
    assert answer.is_success, answer.text
    return answer.json()


def updated(project: Composed, service: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the README says to do."""
    command = ("make", "microservice_vertical-update", f"SERVICE={service}")
    environment = os.environ | project.environment | environment
    return subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True)


def test_a_killed_specialist_leaves_the_readers_answer_marked_degraded(project: Composed) -> None:
    whole = post(project, "/predict", LOW_CONFIDENCE)
    assert (whole["degraded"], whole["model"]["name"]) == (False, "specialist")
    project.compose("kill", SPECIALIST)
    answer = post(project, "/predict", LOW_CONFIDENCE)
    assert (answer["degraded"], answer["model"]["name"]) == (True, "mlp")
    assert "specialist" in answer["stages"][-1]["error"]
    assert FRONT_SERVICES[FRONT].read(project.port)["digit"] == 7  # no confidence is low
    project.compose("start", SPECIALIST)
    wait_until(lambda: not post(project, "/predict", LOW_CONFIDENCE)["degraded"])


def test_an_update_replaces_one_service_under_load_and_no_request_fails(project: Composed) -> None:
    before = set(project.containers())
    old_reader = project.container(READER)
    with rest_calls(project.port) as call, load(call) as requests:
        (old,) = requests.answers
        done = updated(project, READER, **ANOTHER_MODEL)
        assert done.returncode == 0, done.stderr
        requests.answers.clear()
        requests.goes_on(100)
    requests.no_failure()
    assert old not in requests.answers
    assert before - set(project.containers()) == {old_reader}


def test_an_update_that_does_not_get_healthy_leaves_the_old_one_and_fails_no_request(project: Composed) -> None:
    before = project.compose("ps", "--all", "--quiet")
    with rest_calls(project.port) as call, load(call) as requests:
        done = updated(project, READER, READER_MODEL_SHA256="0" * 64)
        assert done.returncode != 0
        assert "MODEL_SHA256" in done.stderr  # the log of the one that did not
        requests.goes_on()
    requests.no_failure()
    assert project.compose("ps", "--all", "--quiet") == before


@pytest.mark.parametrize("service", ["", FRONT, REDIS, "synchronous-predictor"])
def test_an_update_of_what_cannot_be_doubled_is_refused(project: Composed, service: str) -> None:
    before = project.containers()
    done = updated(project, service)
    assert done.returncode != 0
    assert f"SERVICE=NAME, one of {FRONT}-quality" in done.stderr
    assert project.containers() == before


def test_one_service_is_scaled_and_each_of_its_containers_gets_a_share(project: Composed) -> None:
    project.compose("up", "--detach", "--no-deps", "--no-recreate", "--scale", f"{READER}=2", "--wait", READER)
    wait_until(
        lambda: (
            answers_on_new_connections(project) and all(rows(container) > 0 for container in project.containers(READER))
        ),
        90,
    )
    project.compose("up", "--detach", "--no-deps", "--no-recreate", "--scale", f"{READER}=1", READER)


def answers_on_new_connections(project: Composed) -> bool:
    """Calls from many threads, on connections that the proxy opens for them: it has dropped its idle ones."""
    time.sleep(IDLE_SECONDS + 0.5)
    with rest_calls(project.port) as call, load(call, at_once=32, pause_seconds=0) as requests:
        pass
    requests.no_failure()
    return True


def rows(container: str) -> float:
    """How many rows the predictor in a container has read so far."""
    metrics = inside(container, "import httpx; print(httpx.get('http://127.0.0.1:8000/metrics').text)")
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("batch_rows_sum"))


@pytest.mark.parametrize("commands", [["restart"], ["down", f"up --detach {FRONT}"]], ids=["restart", "recreated"])
def test_a_stored_image_outlives_the_containers(project: Composed, commands: list[str]) -> None:
    stored = post(project, "/images", {"pixels": SEVEN_PIXELS})
    for command in commands:
        project.compose(*command.split())
    wait_until(lambda: answers(f"http://127.0.0.1:{project.port}/health/ready"))
    assert post(project, "/predict", stored)["digit"] == 7


def test_the_store_is_reached_from_no_other_network_and_reaches_none(project: Composed) -> None:
    networks = inspect(project.container(REDIS))["NetworkSettings"]["Networks"]
    assert [inspect(network)["Internal"] for network in networks] == [True]
