"""The next action of a job: it begins as early as possible, delays no other job, and needs a member that votes (H5)."""

import asyncio
from collections.abc import Iterator
from time import monotonic

import pytest
from redis.asyncio import Redis

from microservice_horizontal.jobs.stream import JobStream
from tests.support.horizontal.deployment import LinkedDeployment, linked_deployment, picture, unanimous
from tests.support.horizontal.failing_action import ALWAYS, ONCE
from tests.support.horizontal.jobs import all_answered, has_answers, look, submit
from tests.support.processes import wait_until
from tests.support.redis_servers import RedisServer
from tests.support.service_process import Server, starting

pytestmark = pytest.mark.full
POST_PROCESSOR = "microservice_horizontal.postprocessor:create_app"
FAILING = "tests.support.horizontal.failing_action:create_app"
DEADLINE_SECONDS = 10.0


@pytest.fixture(scope="module")
def deployment() -> Iterator[LinkedDeployment]:
    with linked_deployment() as deployment:
        yield deployment


def scan_of(digit: int) -> dict[str, list[float]]:
    """One that all three read as this digit."""
    scans, labels = unanimous()
    return picture(scans[labels == digit][0])


def test_action_begins_for_jobs_whose_deadline_passed_while_no_post_processor_ran(
    deployment: LinkedDeployment,
) -> None:
    """There are so many jobs that the post-processor checks deadlines before it has read all answers."""
    with deployment.another_proxy(job_deadline_seconds=6) as proxy:
        deployment.stack.stop("postprocessor")
        jobs = [submit(proxy, scan_of(7)) for _ in range(120)]
        for job in jobs:
            has_answers(proxy, job, 3)
    with deployment.stack.store() as store:
        over = float(store.zrange("microservice_horizontal:deadlines", -1, -1, withscores=True)[0][1])
        wait_until(lambda: float(store.time()[0]) > over)
    deployment.start("postprocessor")
    closed = [look(deployment.stack.front, job, wait=10) for job in jobs]
    assert {(job["status"], job["prediction"]["digit"], job["early"]["digit"]) for job in closed} == {("done", 7, 7)}


@pytest.fixture(scope="module")
def hasty(deployment: LinkedDeployment) -> Iterator[Server]:
    """A proxy whose jobs have a few seconds."""
    with deployment.another_proxy(job_deadline_seconds=DEADLINE_SECONDS) as proxy:
        yield proxy


def test_failed_action_is_retried_until_the_deadline_and_delays_no_other_job(
    deployment: LinkedDeployment, hasty: Server
) -> None:
    """What it raises is no fault of Redis, and the log says whose it is."""
    deployment.stack.stop("postprocessor")
    failing = deployment.stack.start("postprocessor", app=FAILING)
    began = monotonic()
    always, once = submit(hasty, scan_of(ALWAYS)), submit(hasty, scan_of(ONCE))
    others = [submit(hasty, scan_of(7)) for _ in range(20)]
    for job in others:
        assert look(hasty, job, wait=10)["early"]["digit"] == 7
    again = look(hasty, once, wait=10)
    assert (again["status"], again["prediction"]["digit"], again["early"]["digit"]) == ("done", ONCE, ONCE)
    assert look(hasty, always)["status"] == "running"
    never = look(hasty, always, wait=20)
    assert DEADLINE_SECONDS - 0.2 < monotonic() - began < DEADLINE_SECONDS + 2
    assert (never["status"], never["prediction"]["digit"], never["early"]) == ("done", ALWAYS, None)
    all_answered(hasty, always)
    with deployment.stack.store() as store:
        wait_until(lambda: store.xlen("microservice_horizontal:answers") == 0)
        wait_until(lambda: store.xlen("microservice_horizontal:jobs") == 0)
    deployment.stack.stop("postprocessor")
    deployment.start("postprocessor")
    errors = [line for line in failing.log_lines() if line["level"] == "ERROR"]
    of_jobs = {f"job {job.rpartition('/')[2]}: the next action failed" for job in (always, once)}
    assert {line["message"] for line in errors} == of_jobs
    assert all("the tray is stuck" in line["exception"] for line in errors)
    assert "unavailable" not in failing.log.read_text()


def test_action_of_an_expired_job_is_not_recorded(valkey: RedisServer) -> None:
    """It would never expire again."""

    async def note() -> None:
        async with Redis(port=valkey.port) as redis:
            await JobStream(redis, 60).record_action("gone", b"{}")

    asyncio.run(note())
    assert valkey.client.keys("*") == []


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"early_model": "best"}, "EARLY_MODEL=best: Value error, expected one of MEMBERS: linear, svm, mlp"),
        ({"quorum": 4}, "QUORUM=4: Value error, expected at most 3, the number of MEMBERS"),
    ],
    ids=["early_model", "quorum"],
)
def test_post_processor_with_impossible_settings_does_not_start_and_says_why(
    settings: dict[str, object], line: str
) -> None:
    with starting(POST_PROCESSOR, **settings) as server:
        assert server.process.wait(20) != 0
        assert server.log.read_text() == f"cannot start, wrong setting: {line}\n"
