"""Jobs that all members read: what is refused, and what is left of them (H7).

svm and mlp take as long as a picture says, svm reads one at a time.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import uuid4

import pytest
from redis import Redis

from tests.support.horizontal.deployment import (
    LinkedDeployment,
    kept,
    linked_deployment,
    no_error_is_logged,
    picture,
    svm_with,
    unanimous,
)
from tests.support.horizontal.jobs import all_answered, look, submit
from tests.support.processes import wait_until
from tests.support.queue.jobs import open_waits
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server
from tests.support.stack import MEMBERS

pytestmark = pytest.mark.full
JOBS = "microservice_horizontal:jobs"
ANSWERS = "microservice_horizontal:answers"
DEADLINES = "microservice_horizontal:deadlines"
LONG = {"X-Request-Timeout-Ms": "20000"}


@pytest.fixture(scope="module")
def deployment(with_slow_members: LinkedDeployment) -> LinkedDeployment:
    return with_slow_members


def test_one_more_job_than_may_be_open_is_a_429(deployment: LinkedDeployment) -> None:
    deployment.stack.stop("postprocessor")
    with deployment.another_proxy(max_open_jobs=3) as proxy:
        jobs = [submit(proxy) for _ in range(3)]
        answer = proxy.client.post("/jobs", json=SEVEN_JSON)
        deployment.start("postprocessor")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert "3 jobs" in answer.json()["detail"]
        assert [look(proxy, job, wait=10)["status"] for job in jobs] == ["done"] * 3
        submit(proxy)


def test_limit_of_open_jobs_holds_for_concurrent_submits(deployment: LinkedDeployment) -> None:
    """The store has all of them before it, when it comes to the first."""
    with deployment.stack.store() as store:
        wait_until(lambda: store.zcard(DEADLINES) == 0)
        deployment.stack.stop("postprocessor")
        with deployment.another_proxy(max_open_jobs=3) as proxy, ThreadPoolExecutor(16) as threads:
            with deployment.hung("redis"):
                calls = [threads.submit(proxy.client.post, "/jobs", json=SEVEN_JSON, headers=LONG) for _ in range(16)]
                time.sleep(0.5)
            answers = [call.result() for call in calls]
        assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 13
        assert store.zcard(DEADLINES) == 3
        deployment.start("postprocessor")
        wait_until(lambda: store.zcard(DEADLINES) == 0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"pixels": [0] * 64}, 422),
        ([SEVEN_JSON], 422),
        ({}, 422),
        ({"image_id": "7"}, 422),
        ({"image_id": str(uuid4())}, 404),
    ],
    ids=["blank", "a_list", "nothing", "no_id", "unknown_id"],
)
def test_invalid_picture_is_no_job(deployment: LinkedDeployment, body: object, status: int) -> None:
    with deployment.stack.store() as store:
        before = store.zcard(DEADLINES)
        assert deployment.front.client.post("/jobs", json=body).status_code == status
        assert store.zcard(DEADLINES) == before


@pytest.mark.parametrize("path", ["", "/events"])
def test_unknown_job_is_a_404_and_invalid_id_a_422(deployment: LinkedDeployment, path: str) -> None:
    assert deployment.front.get(f"/jobs/{uuid4()}{path}").status_code == 404
    assert deployment.front.get(f"/jobs/seven{path}").status_code == 422
    assert deployment.front.client.post(f"/jobs/{uuid4()}{path}").status_code == 405


def test_many_jobs_are_closed_once_with_their_own_digits_and_leave_no_entry(deployment: LinkedDeployment) -> None:
    scans, labels = (part[unanimous().features[:, 0] == 0][:200] for part in unanimous())
    with ThreadPoolExecutor(8) as threads, deployment.stack.store() as store:
        jobs = list(threads.map(lambda scan: submit(deployment.front, picture(scan)), scans))
        closed = list(threads.map(lambda job: look(deployment.front, job, wait=10), jobs))
        complete = list(threads.map(lambda job: all_answered(deployment.front, job), jobs))
        assert [job["prediction"]["digit"] for job in closed] == labels.tolist()
        assert [job["early"]["digit"] for job in complete] == [j["predictions"]["linear"]["digit"] for j in complete]
        wait_until(lambda: store.xlen(JOBS) == store.xlen(ANSWERS) == store.zcard(DEADLINES) == 0)
        for name in MEMBERS:
            assert store.xpending(JOBS, name)["pending"] == 0


def test_expired_jobs_leave_nothing() -> None:
    """But two streams that are empty; jobs that one member never answered are forgotten too."""
    short: dict[str, object] = {"job_ttl_seconds": 4}
    services = dict.fromkeys((*MEMBERS, "postprocessor"), short)
    with linked_deployment(services, **short, image_ttl_seconds=4) as deployment, deployment.stack.store() as store:
        jobs = [submit(deployment.front, kept(deployment.front, SEVEN_JSON)) for _ in range(5)]
        for job in jobs:
            all_answered(deployment.front, job)
        deployment.kill("svm")
        jobs += [submit(deployment.front) for _ in range(5)]
        assert [look(deployment.front, job, wait=10)["status"] for job in jobs] == ["done"] * 10
        streams = {JOBS.encode(), ANSWERS.encode()}
        wait_until(lambda: set(store.keys("*")) <= streams, 20)
        assert {deployment.front.get(job).status_code for job in jobs} == {404}
        submit(deployment.front)
        deployment.start("svm")
        wait_until(lambda: store.xlen(JOBS) == store.xlen(ANSWERS) == 0, 20)
        wait_until(lambda: set(store.keys("*")) <= streams, 20)


def test_ended_processes_are_removed_from_consumer_groups(deployment: LinkedDeployment) -> None:
    """Else each start of a member or a post-processor would leave an entry for good."""
    with deployment.stack.store() as store, svm_with(deployment, lease_seconds=0.1):
        for name, settings in (("svm", deployment.settings["svm"] | {"lease_seconds": 0.1}), ("postprocessor", {})):
            for _ in range(2):
                deployment.stack.stop(name)
                deployment.stack.start(name, **settings)
        for stream, group in ((JOBS, "svm"), (ANSWERS, "post-processors")):
            wait_until(partial(reads_alone, store, stream, group))


def reads_alone(store: Redis, stream: str, group: str) -> bool:
    """Whether one consumer is all that the group knows."""
    return len(store.xinfo_consumers(stream, group)) == 1


def test_no_service_has_logged_an_error_in_this_module(deployment: LinkedDeployment) -> None:
    no_error_is_logged(deployment)


def test_waiting_clients_leave_room_for_jobs_and_free_their_places_when_they_leave(
    deployment: LinkedDeployment,
) -> None:
    deployment.stack.stop("postprocessor")
    with deployment.another_proxy(max_concurrent_requests=20) as proxy:
        job = submit(proxy).rpartition("/")[2]
        waiting = open_waits(proxy.port, job, 10)
        while waits_for(proxy, job, 0.1):
            waiting += open_waits(proxy.port, job, 1)
        submit(proxy)
        for client in waiting:
            client.close()
        wait_until(lambda: waits_for(proxy, job, 0.3), 2)
    deployment.start("postprocessor")


def waits_for(proxy: Server, job: str, seconds: float) -> bool:
    """Whether there is a place: the proxy answers when the time is over, not at once."""
    began = time.monotonic()
    assert proxy.get(f"/jobs/{job}?wait={seconds}").status_code == 200
    return time.monotonic() - began >= seconds
