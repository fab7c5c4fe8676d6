"""The members of microservice_horizontal fail, are limited, replaced and added apart, on a real engine (H8)."""

from typing import Any

import httpx
import pytest

from tests.support.docker import Composed, inspect
from tests.support.patterns.front_services import FRONT_SERVICES
from tests.support.processes import wait_until
from tests.support.samples import SEVEN_PIXELS

FRONT = "microservice_horizontal"
pytestmark = [
    pytest.mark.docker,
    pytest.mark.full,
    pytest.mark.timeout(600),
    pytest.mark.parametrize("project", [FRONT], indirect=True, scope="package"),
]
LINEAR, SVM, MLP, SPECIALIST = (f"{FRONT}-{member}" for member in ("linear", "svm", "mlp", "specialist"))
MIB = 2**20
HALF, WHOLE = 5 * 10**8, 10**9
"""CPUs, as Docker counts them."""


def predict(project: Composed) -> tuple[list[str], dict[str, str]]:
    """Who has voted for a seven, and who is missing, and why."""
    answer = httpx.post(f"http://127.0.0.1:{project.port}/predict", json={"pixels": SEVEN_PIXELS}, timeout=10)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["digit"] == 7
    return list(document["predictions"]), {one["model"]: one["reason"] for one in document["missing"]}


def job(project: Composed) -> dict[str, Any]:
    """A job that is closed, and its address."""
    accepted = httpx.post(f"http://127.0.0.1:{project.port}/jobs", json={"pixels": SEVEN_PIXELS}, timeout=10)
    assert accepted.status_code == 202, accepted.text
    url = f"http://127.0.0.1:{project.port}{accepted.headers['location']}"
    closed: dict[str, Any] = httpx.get(f"{url}?wait=10", timeout=30).json()
    return closed | {"url": url}


def limits(project: Composed, service: str) -> tuple[int, int]:
    host = inspect(project.container(service))["HostConfig"]
    return host["NanoCpus"], host["Memory"] // MIB


def test_a_killed_member_costs_one_vote_and_has_it_again_when_it_is_back(project: Composed) -> None:
    assert predict(project) == (["linear", "svm", "mlp"], {})
    project.compose("kill", SVM)
    voted, missing = predict(project)
    assert (voted, list(missing)) == (["linear", "mlp"], ["svm"])
    without = job(project)
    assert (without["status"], without["prediction"]["digit"]) == ("done", 7)
    project.compose("start", SVM)
    wait_until(lambda: predict(project) == (["linear", "svm", "mlp"], {}))
    wait_until(lambda: "svm" in httpx.get(without["url"]).json()["predictions"])  # what it has missed, it does late


def test_each_member_has_limits_of_its_own_and_is_replaced_alone(project: Composed) -> None:
    assert limits(project, LINEAR) == limits(project, MLP) == (HALF, 256)
    assert limits(project, SVM) == (WHOLE, 512)
    before, svm = set(project.containers()), project.container(SVM)
    settings = {"SVM_CPUS": "0.75", "SVM_MEMORY": "384m", "SVM_MODEL_URI": "common/models/specialist.onnx"}
    project.compose("up", "--detach", "--no-deps", "--wait", SVM, **settings)
    assert limits(project, SVM) == (int(0.75 * WHOLE), 384)
    assert before - set(project.containers()) == {svm}
    wait_until(lambda: predict(project) == (["linear", "svm", "mlp"], {}))
    project.compose("up", "--detach", "--no-deps", "--wait", SVM)


def test_a_fourth_member_is_one_service_block_and_one_setting(project: Composed) -> None:
    members = {service: project.container(service) for service in (LINEAR, SVM, MLP)}
    urls = [f"http://{service}:8000/v2/models/{service.partition('-')[2]}" for service in (*members, SPECIALIST)]
    project.compose("up", "--detach", "--wait", SPECIALIST, FRONT, MEMBERS=",".join(urls))
    assert FRONT_SERVICES[FRONT].read(project.port)["digit"] == 7
    assert predict(project) == (["linear", "svm", "mlp", "specialist"], {})
    url = job(project)["url"]
    wait_until(lambda: set(httpx.get(url).json()["predictions"]) == {"linear", "svm", "mlp", "specialist"})
    assert {service: project.container(service) for service in members} == members
    assert limits(project, SPECIALIST) == (WHOLE, 256)
    project.compose("rm", "--stop", "--force", SPECIALIST)
    project.compose("up", "--detach", "--wait", FRONT)


def test_the_store_and_the_stream_are_reached_from_no_other_network_and_reach_none(project: Composed) -> None:
    networks = inspect(project.container(f"{FRONT}-redis"))["NetworkSettings"]["Networks"]
    assert [inspect(network)["Internal"] for network in networks] == [True]
