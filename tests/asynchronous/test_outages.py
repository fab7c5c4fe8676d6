"""What cannot be kept is rejected immediately, and what was accepted is done although Redis is away or full (A1).

A second proxy reaches Redis over a link that can fail, and takes few jobs.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic, sleep, time

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from asynchronous.queue import EVENTS, JobQueue
from common.jobs.redis_connection import CONNECTION_ERRORS
from tests.support.http import fault_proxy as faults
from tests.support.http.fault_proxy import Fault, Link
from tests.support.models.onnx_models import poisoned
from tests.support.processes import wait_until
from tests.support.queue.jobs import (
    TWO_ATTEMPTS,
    Deployment,
    another_proxy,
    deployment_with,
    done,
    ended,
    events,
    hand_in,
    hand_in_all,
    hung,
    killed,
    looks,
    moment,
    submit,
)
from tests.support.redis_servers import OTHERS, redis_server
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server, is_ready
from tests.support.stack import stack_of

FEW = 5
SLACK_SECONDS = 1.0
full = pytest.mark.full


@dataclass(frozen=True, slots=True)
class Linked(Deployment):
    """And another proxy with its link to Redis, which takes only a few jobs."""

    linked: Server
    link: Link


@pytest.fixture(scope="module")
def deployment(poison: str) -> Iterator[Linked]:
    with (
        deployment_with(model_uri=poison, **TWO_ATTEMPTS) as deployment,
        Link(deployment.stack.port("redis")).running() as link,
    ):
        url = f"redis://127.0.0.1:{link.port}/0"
        linked = another_proxy(deployment.stack, redis_url=url, max_queued_jobs=FEW)
        wait_until(lambda: is_ready(linked))
        yield Linked(deployment.stack, deployment.front, deployment.predictor, deployment.redis, linked, link)
        linked.process.terminate()
        linked.process.wait(20)


def test_a_full_queue_is_a_429_at_once(deployment: Linked) -> None:
    with hung(deployment.predictor):
        ids = [hand_in(deployment.linked) for _ in range(FEW)]
        began = monotonic()
        answer = submit(deployment.linked)
        assert monotonic() - began < SLACK_SECONDS
        assert (answer.status_code, answer.headers["content-type"]) == (429, "application/problem+json")
        assert int(answer.headers["retry-after"]) > 0
        assert deployment.linked.client.delete(f"/jobs/{ids.pop()}").status_code == 200
        ids.append(hand_in(deployment.linked))  # there is room again
    done(deployment.front, *ids)
    done(deployment.linked, hand_in(deployment.linked))


def open_jobs(deployment: Linked) -> set[bytes]:
    return set(deployment.redis.keys("asynchronous:job:*"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "deadline_ms", "seconds"),
    [
        pytest.param(faults.REFUSE, 5_000, 0, id="refuses"),
        pytest.param(faults.SWALLOW, 300, 0.3, id="hangs"),
        pytest.param(faults.RESET, 5_000, 0, id="hangs up"),
        pytest.param(Fault(answer=b"-LOADING Redis is loading the dataset in memory\r\n"), 5_000, 0, id="loads"),
    ],
)
def test_no_job_is_accepted_while_redis_is_away(
    deployment: Linked, fault: Fault, deadline_ms: int, seconds: float
) -> None:
    before = open_jobs(deployment)
    job_id = hand_in(deployment.linked)
    done(deployment.linked, job_id)
    headers = {"X-Request-Timeout-Ms": str(deadline_ms)}
    deployment.link.set(fault)
    try:
        for method, path in (("POST", "/jobs"), ("GET", f"/jobs/{job_id}"), ("DELETE", f"/jobs/{job_id}")):
            began = monotonic()
            answer = deployment.linked.client.request(method, path, json=SEVEN_JSON, headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert int(answer.headers["retry-after"]) > 0
            assert monotonic() - began < seconds + SLACK_SECONDS
        assert not is_ready(deployment.linked)
    finally:
        deployment.link.set(faults.PASS)
    assert len(open_jobs(deployment) - before) == 1
    wait_until(lambda: is_ready(deployment.linked), 5)
    done(deployment.linked, hand_in(deployment.linked))


def test_a_job_whose_submission_got_no_reply_is_a_503_or_is_stored(deployment: Linked) -> None:
    done(deployment.linked, hand_in(deployment.linked))
    for fault in (faults.CUT, faults.CUT_BY_RESET, Fault(cut_after=0), Fault(cut_after=3, reset=True)):
        deployment.link.set(fault, once=True)
        answer = submit(deployment.linked, headers={"X-Request-Timeout-Ms": "1000"})
        assert answer.status_code in (202, 503), answer.text
        if answer.status_code == 202:
            done(deployment.linked, answer.json()["job_id"])
    deployment.link.set(faults.PASS)
    wait_until(lambda: deployment.predictor.metric("jobs_open") == 0, 5)
    done(deployment.linked, *[hand_in(deployment.linked) for _ in range(3)])


@full
@pytest.mark.parametrize("fault", [Fault(cut_after=0), Fault(cut_after=0, reset=True)])
def test_a_repeated_command_succeeds_when_its_first_reply_was_lost(deployment: Linked, fault: Fault) -> None:
    """The connection breaks after Redis has called a job off, or queued a dead letter again."""

    async def check(job_id: str, bad: str) -> None:
        retry_once = Retry(NoBackoff(), 1, supported_errors=CONNECTION_ERRORS)
        async with Redis(port=deployment.link.port, retry=retry_once, single_connection_client=True) as redis:
            queue = JobQueue(redis, job_ttl_seconds=60, result_ttl_seconds=60)
            assert (await queue.cancel("none", ""), await queue.retry_dead_letter("none")) == (
                None,
                False,
            )
            deployment.link.set(fault, once=True)
            assert await queue.cancel(job_id, "cancelled") == "cancelled"
            assert await queue.cancel(job_id, "cancelled") == "failed"
            deployment.link.set(fault, once=True)
            assert await queue.retry_dead_letter(bad)
            assert not await queue.retry_dead_letter(bad)

    bad = hand_in(deployment.front, poisoned())
    assert ended(deployment.front, bad)["status"] == "failed"
    with hung(deployment.predictor):
        asyncio.run(check(hand_in(deployment.front), bad))
    assert ended(deployment.front, bad)["status"] == "failed"


@pytest.mark.parametrize("seconds", [0.1, pytest.param(2.5, marks=full)])
def test_waiting_clients_get_their_job_when_redis_was_away_for_a_while(deployment: Linked, seconds: float) -> None:
    with ThreadPoolExecutor(2) as threads, hung(deployment.predictor):
        job_id = hand_in(deployment.linked)
        before = looks(deployment.redis)
        waiting = threads.submit(ended, deployment.linked, job_id)
        events_seen = events(deployment.linked, job_id)
        assert next(events_seen)[0] == "queued"
        wait_until(lambda: looks(deployment.redis) >= before + 2)
        deployment.link.set(faults.REFUSE)
        sleep(seconds)
        deployment.link.set(faults.PASS)
        sleep(0.1)
        listening = threads.submit(list, events_seen)
        deployment.predictor.process.send_signal(18)
        assert waiting.result()["status"] == "done"
        assert listening.result()[-1][0] == "done"


@full
def test_waiting_clients_are_woken_at_once_after_the_subscription_was_half_open(deployment: Linked) -> None:
    """Else it looks for itself, a second after it came; what was half-open stays so when the link is whole again."""
    wait_until(lambda: listeners(deployment) == 2)
    deployment.link.set(faults.SWALLOW)
    try:
        sleep(5.5)
        wait_until(lambda: listeners(deployment) == 1, 5)  # the other has given up
    finally:
        deployment.link.set(faults.PASS)
    wait_until(lambda: listeners(deployment) == 2 and is_ready(deployment.linked), 10)
    with ThreadPoolExecutor(1) as threads:
        for _ in range(5):
            with hung(deployment.predictor):
                waiting = threads.submit(seconds_late, deployment.linked, hand_in(deployment.linked))
                sleep(0.2)
            assert waiting.result() < 0.5


def listeners(deployment: Linked) -> int:
    """How many proxies are subscribed to changes."""
    return dict(deployment.redis.pubsub_numsub(EVENTS))[EVENTS.encode()]


def seconds_late(front: Server, job_id: str) -> float:
    """From the end of a job until the waiting client has it."""
    job = ended(front, job_id)
    return time() - moment(job, "finished").timestamp()


@full
def test_a_restart_of_redis_loses_nothing_and_ends_no_wait(deployment: Linked) -> None:
    with ThreadPoolExecutor(12) as threads:
        with hung(deployment.predictor):
            ids = hand_in_all(deployment.front, [SEVEN_JSON] * 10)
            before = looks(deployment.redis)
            waiting = [threads.submit(ended, deployment.front, job_id) for job_id in ids]
            events_seen = events(deployment.front, ids[0])
            assert next(events_seen)[0] == "queued"
            wait_until(lambda: looks(deployment.redis) >= before + len(ids) + 1)
            sleep(0.5)  # one may have looked twice before another did
            killed(deployment.stack.servers["redis"])
            assert submit(deployment.front).status_code == 503
            sleep(1.5)  # they look again meanwhile
            deployment.stack.start("redis")
        assert {one.result()["status"] for one in waiting} == {"done"}
        assert list(events_seen)[-1][0] == "done"
    done(deployment.front, *ids)


@full
def test_new_jobs_are_rejected_and_accepted_jobs_are_done_when_memory_is_full(deployment: Linked) -> None:
    with hung(deployment.predictor):
        ids = hand_in_all(deployment.front, [SEVEN_JSON] * 20)
        bad = hand_in(deployment.front, poisoned())
        deployment.redis.config_set("maxmemory", 1)
    try:
        assert submit(deployment.front).status_code == 503
        done(deployment.front, *ids)
        assert ended(deployment.front, bad)["attempts"] == 2
    finally:
        deployment.redis.config_set("maxmemory", 0)
    done(deployment.front, hand_in(deployment.front))


@full
@pytest.mark.parametrize("kind", ["valkey", *OTHERS])
def test_a_full_redis_rejects_new_jobs_and_loses_none(kind: str) -> None:
    """On each kind of server, before any predictor runs."""
    with redis_server(kind) as server, stack_of("asynchronous") as stack:
        front = stack.start("asynchronous", redis_url=server.url)
        accepted = hand_in_all(front, [SEVEN_JSON] * 20)
        server.client.config_set("maxmemory", 1)
        refused = submit(front)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert server.client.zcard("asynchronous:open") == len(accepted)
        stack.start("predictor", redis_url=server.url)
        assert [job["prediction"]["digit"] for job in done(front, *accepted)] == [7] * len(accepted)
        server.client.config_set("maxmemory", "64mb")
        wait_until(lambda: submit(front).status_code == 202)
