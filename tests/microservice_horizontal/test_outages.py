"""Whatever dies or falls silent, and whenever: an accepted job is closed once, with the right digit (H7, H8).

The models are the real ones; the pictures are scans that all three read alike, so that the right digit is known.
"""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Event
from typing import Any, NamedTuple

import httpx
import pytest
from redis import Redis

from tests.support.horizontal.deployment import (
    SLACK_SECONDS,
    Answer,
    LinkedDeployment,
    all_vote,
    ask,
    linked_deployment,
    missing,
    picture,
    unanimous,
)
from tests.support.horizontal.jobs import all_answered, look, submit
from tests.support.http.fault_proxy import PASS, SWALLOW, Link
from tests.support.processes import wait_until
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server, is_ready
from tests.support.stack import MEMBERS

pytestmark = pytest.mark.full
KILL_SECONDS = 15
JOBS = 300
PROXY = "microservice_horizontal"


@pytest.fixture(scope="module")
def deployment() -> Iterator[LinkedDeployment]:
    members: dict[str, dict[str, object]] = {name: {"lease_seconds": 1} for name in MEMBERS}
    with linked_deployment(members, job_deadline_seconds=60) as deployment:
        yield deployment


class Accepted(NamedTuple):
    """A job that was accepted, and its right digit."""

    job: str
    digit: int


def closed_as(job: Answer) -> Answer:
    """The end of a job: all fields but the answers, which may still be added."""
    return job | {"predictions": None}


def early_as_it_should(job: Answer) -> bool:
    """Whether the next action has begun, unless linear had not answered when the job was closed."""
    return bool(job["early"]) != ("linear" in missing(job))


def asks_for_ever(client: httpx.Client, path: str, body: object = None) -> Any:
    """The good answer, however often it takes."""

    def one() -> Any:
        try:
            answer = client.post(path, json=body) if body else client.get(path)
        except httpx.TransportError:
            return None
        assert answer.status_code in (200, 202, 429, 503), answer.text
        return answer if answer.is_success else None

    return wait_until(one, 60)


# Kills


def test_every_accepted_job_is_closed_once_with_the_right_digit_when_any_process_is_killed_at_any_moment(
    deployment: LinkedDeployment,
) -> None:
    """Members, post-processor, proxy and Redis, one after another and again, while jobs come in."""
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    rng, over, seen = random.Random(seed), Event(), dict[str, Answer]()
    scans, labels = unanimous()

    def send() -> list[Accepted]:
        accepted: list[Accepted] = []
        at_random = random.Random(seed)
        for row in range(JOBS):
            answer = asks_for_ever(client, "/jobs", picture(scans[row % len(scans)]))
            accepted.append(Accepted(answer.headers["location"], int(labels[row % len(scans)])))
            if not over.is_set():
                over.wait(KILL_SECONDS / JOBS)
            note(at_random.choice(accepted).job)
        return accepted

    def note(job: str) -> None:
        found = asks_for_ever(client, job).json()
        if found["status"] != "running":
            assert closed_as(seen.setdefault(job, found)) == closed_as(found)

    killed: list[str] = []
    with httpx.Client(base_url=deployment.front.url, timeout=3) as client, ThreadPoolExecutor(1) as threads:
        sending = threads.submit(send)
        end = time.monotonic() + KILL_SECONDS
        while time.monotonic() < end:
            name = rng.choice(["redis", "postprocessor", PROXY, *MEMBERS])
            time.sleep(rng.uniform(0, 0.5))
            deployment.kill(name)
            killed.append(name)
            time.sleep(rng.uniform(0, 0.5))
            deployment.start(name)
            if name != "redis" and rng.random() < 0.5:
                wait_until(partial(is_ready, deployment.stack.servers[name]))
        over.set()
        accepted = sending.result()
    print(f"killed: {', '.join(killed)}")
    wait_until(lambda: all(is_ready(server) for name, server in deployment.stack.servers.items() if name != "redis"))
    for job, digit in accepted:
        found = look(deployment.front, job, wait=20)
        assert (found["status"], found["prediction"]["digit"]) == ("done", digit), found
        assert early_as_it_should(found), found
        assert closed_as(seen.get(job, found)) == closed_as(found)
        complete = all_answered(deployment.front, job)
        assert closed_as(complete) == closed_as(found)
        assert {one["digit"] for one in complete["predictions"].values()} == {digit}
    assert len({job for job, _ in accepted}) == JOBS
    nothing_is_open(deployment)


def nothing_is_open(deployment: LinkedDeployment) -> None:
    """No open job and no unread entry is left, except of jobs whose 202 never arrived."""
    with deployment.stack.store() as store:
        wait_until(lambda: store.zcard(f"{PROXY}:deadlines") == 0)
        wait_until(lambda: store.xlen(f"{PROXY}:jobs") == store.xlen(f"{PROXY}:answers") == 0)


@pytest.mark.parametrize("name", ["redis", PROXY])
def test_jobs_accepted_before_a_kill_are_done_after_it(deployment: LinkedDeployment, name: str) -> None:
    """No process reads while the jobs come in, so all of them are open when it happens."""
    scans, labels = (part[:20] for part in unanimous())
    with deployment.hung(*MEMBERS):
        jobs = [submit(deployment.front, picture(scan)) for scan in scans]
        deployment.kill(name)
    deployment.stack.start(name, **deployment.settings.get(name, {}))
    found = [look(deployment.front, job, wait=20) for job in jobs]
    assert [(job["status"], job["prediction"]["digit"]) for job in found] == [("done", label) for label in labels]
    assert all(map(early_as_it_should, found))
    for job in jobs:
        all_answered(deployment.front, job)
    nothing_is_open(deployment)


# Redis is away


@contextmanager
def without_redis(deployment: LinkedDeployment, kind: str) -> Iterator[None]:
    """No process listens, or it never answers; afterwards it has its data again."""
    if kind == "hung":
        with deployment.hung("redis"):
            yield
        return
    deployment.kill("redis")
    try:
        yield
    finally:
        deployment.stack.start("redis")


@pytest.mark.parametrize("kind", ["down", "hung"])
def test_pictures_are_read_and_jobs_rejected_in_time_while_redis_is_down(
    deployment: LinkedDeployment, kind: str
) -> None:
    job = submit(deployment.front)
    all_answered(deployment.front, job)
    before = look(deployment.front, job, wait=10)
    with without_redis(deployment, kind):
        for _ in range(3):
            assert ask(deployment.front, deadline_ms=500).json()["missing"] == []
            for method, path in (("POST", "/jobs"), ("POST", "/images"), ("GET", job), ("GET", f"{job}/events")):
                answer, seconds = within(deployment.front, method, path)
                assert seconds < 0.5 + SLACK_SECONDS, path
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), path
                assert answer.headers["content-type"] == "application/problem+json"
        assert deployment.front.get("/health/ready").status_code == 200
    wait_until(lambda: within(deployment.front, "POST", "/jobs")[0].status_code == 202, 10)
    assert closed_as(look(deployment.front, job)) == closed_as(before)
    assert all_answered(deployment.front, submit(deployment.front))["status"] in ("running", "done")


def within(proxy: Server, method: str, path: str) -> tuple[httpx.Response, float]:
    """An answer for which there is half a second, and how long it took."""
    began = time.monotonic()
    body = SEVEN_JSON if method == "POST" else None
    answer = proxy.client.request(method, path, json=body, headers={"X-Request-Timeout-Ms": "500"})
    return answer, time.monotonic() - began


@pytest.mark.parametrize("kind", ["down", "hung"])
def test_waiting_request_gets_the_job_as_it_was_when_redis_goes_down(deployment: LinkedDeployment, kind: str) -> None:
    """Once the wait is over; a stream of events goes on, to its end when Redis is back."""
    with ThreadPoolExecutor(1) as threads, ExitStack() as streams:
        with deployment.hung(*MEMBERS):
            job = submit(deployment.front)
            before = jobs_read(deployment)
            events_url = f"{deployment.front.url}{job}/events"
            stream = streams.enter_context(httpx.stream("GET", events_url, timeout=30))
            wait = threads.submit(deployment.front.client.get, f"{job}?wait=3")
            wait_until(lambda: jobs_read(deployment) >= before + 4)  # both have found it, and read it again
            with without_redis(deployment, kind):
                answer = wait.result()
        events = stream.read().decode()
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    assert events.count("event: aggregate") == 1
    assert look_again(deployment, job)["status"] == "done"
    lines = deployment.front.log_lines()
    assert [line for line in lines if line["level"] == "ERROR" or line.get("status") == 500] == []


def jobs_read(deployment: LinkedDeployment) -> int:
    """How often a job was read in Redis."""
    with Redis(port=deployment.stack.port("redis")) as redis:
        stats: Any = redis.info("commandstats")
        return int(stats.get("cmdstat_hgetall", {"calls": 0})["calls"])


def look_again(deployment: LinkedDeployment, job: str) -> Any:
    """The job once it is closed, however often one must ask."""

    def closed() -> Any:
        found = asks_for_ever(deployment.front.client, job).json()
        return found if found["finished_at"] else None

    return wait_until(closed)


@pytest.mark.parametrize("name", ["mlp", "postprocessor"])
def test_silent_connection_to_redis_is_closed(deployment: LinkedDeployment, name: str) -> None:
    """Half-open, as after a power cut: nothing ever comes on it, not even its end."""
    with Link(deployment.stack.port("redis")).running() as link:
        deployment.stack.stop(name)
        server = deployment.stack.launch(name, redis_url=f"redis://127.0.0.1:{link.port}/0")
        wait_until(partial(is_ready, server))
        try:
            assert all_answered(deployment.front, submit(deployment.front))
            link.set(SWALLOW)
            wait_until(lambda: link.has_silenced)
            link.set(PASS)
            job = submit(deployment.front)
            all_answered(deployment.front, job)
            assert look(deployment.front, job, wait=10)["status"] == "done"
        finally:
            deployment.kill(name)
            deployment.start(name)
            wait_until(partial(is_ready, deployment.stack.servers[name]))
    all_vote(deployment.front)
