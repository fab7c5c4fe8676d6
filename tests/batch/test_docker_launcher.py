"""LAUNCHER=docker: each job in a container of its own, which outlives a killed manager and leaves nothing behind."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.batch.digit_datasets import write_data
from tests.support.batch.manager import Manager, ids, manager
from tests.support.processes import ROOT, output_of, wait_until

ROWS = 40
pytestmark = [pytest.mark.full, pytest.mark.docker]


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    name = f"batch-test-{uuid4().hex[:8]}"
    output_of("docker", "build", "--quiet", "--tag", name, "--file", "batch/Dockerfile", ".", folder=ROOT)
    yield name
    output_of("docker", "rmi", name)


@pytest.fixture
def service(tmp_path: Path, image: str) -> Iterator[Manager]:
    with manager(tmp_path, launcher="docker", job_image=image, job_cpus=1) as service:
        write_data(service.data / "scans", ROWS, row_group=10)
        service.start()
        yield service


def containers(run_id: str, *options: str) -> list[str]:
    """The containers of a run, ended ones too."""
    label = f"label=serving-patterns.batch.run={run_id}"
    return output_of("docker", "ps", "--all", "--quiet", "--filter", label, *options).splitlines()


def test_job_is_a_container_that_is_removed_when_the_run_is_done(service: Manager) -> None:
    run_id = service.run("out")
    wait_until(lambda: containers(run_id))
    run = service.ended(run_id)
    assert run["state"] == "done", run
    assert ids(service.data / "out") == list(range(ROWS))
    assert containers(run_id) == []


def test_container_survives_a_killed_manager_and_a_killed_container_is_replaced(service: Manager) -> None:
    run_id = service.run("out")
    (container,) = wait_until(lambda: containers(run_id, "--filter", "status=running"))
    service.kill()
    assert containers(run_id) == [container]
    service.start()
    run = service.ended(run_id)
    assert (run["state"], run["attempts"]) == ("done", 1)
    run_id = service.run("again")
    (container,) = wait_until(lambda: containers(run_id, "--filter", "status=running"))
    output_of("docker", "kill", container)
    run = service.ended(run_id)
    assert (run["state"], run["attempts"], run["crashes"]) == ("done", 2, 1)
    assert containers(run_id) == []


def test_cancel_stops_the_container_and_a_missing_image_is_reported(service: Manager) -> None:
    run_id = service.run("out")
    wait_until(lambda: containers(run_id, "--filter", "status=running"))
    service.post(f"/runs/{run_id}/cancel", 202)
    assert service.ended(run_id)["state"] == "cancelled"
    assert containers(run_id) == []
    service.stop()
    service.start(job_image="no-such-image-here", max_crashes=1)
    run = service.ended(service.run("none"))
    assert run["state"] == "failed"
    assert "could not be started" in run["errors"][0]
