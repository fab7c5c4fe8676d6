"""A client that waits for a job, or for its events, is woken at once and keeps Redis idle meanwhile (A1).

One Redis, one proxy, one predictor.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from tests.support.processes import wait_until
from tests.support.queue.jobs import (
    Deployment,
    another_proxy,
    becomes,
    deployment_with,
    done,
    ended,
    events,
    hand_in,
    hand_in_all,
    hung,
    look,
    looks,
    open_waits,
)
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server, is_ready

SLACK_SECONDS = 1.0
full = pytest.mark.full


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with deployment_with() as deployment:
        yield deployment


def test_a_waiting_client_gets_the_job_as_soon_as_it_is_done_and_not_before(deployment: Deployment) -> None:
    with ThreadPoolExecutor(30) as threads:
        with hung(deployment.predictor):
            ids, before = hand_in_all(deployment.front, [SEVEN_JSON] * 10), looks(deployment.redis)
            waiting = [threads.submit(ended, deployment.front, job_id) for job_id in ids * 3]
            wait_until(lambda: looks(deployment.redis) >= before + len(waiting))
            assert not any(one.done() for one in waiting)
            resumed = monotonic()
        assert {one.result()["status"] for one in waiting} == {"done"}
        assert monotonic() - resumed < SLACK_SECONDS + 2


def test_a_wait_that_times_out_returns_the_job_as_it_is(deployment: Deployment) -> None:
    with hung(deployment.predictor):
        job_id, began = hand_in(deployment.front), monotonic()
        answer = deployment.front.get(f"/jobs/{job_id}?wait=0.3")
        assert 0.3 <= monotonic() - began < 0.3 + SLACK_SECONDS
        assert answer.json()["status"] == "queued"
        assert int(answer.headers["retry-after"]) > 0
    done(deployment.front, job_id)


@full
def test_waiting_clients_do_not_keep_redis_busy(deployment: Deployment) -> None:
    waiters, seconds = 50, 3
    with hung(deployment.predictor), ThreadPoolExecutor(waiters) as threads:
        job_id = hand_in(deployment.front)
        deployment.redis.config_resetstat()
        wait = lambda _: deployment.front.get(f"/jobs/{job_id}?wait={seconds}").json()["status"]  # noqa: E731
        assert set(threads.map(wait, range(waiters))) == {"queued"}
        assert looks(deployment.redis) < waiters * (seconds + 4)
    done(deployment.front, job_id)


def test_events_show_the_states_in_order_and_end_with_the_job(deployment: Deployment) -> None:
    with hung(deployment.predictor):
        job_id = hand_in(deployment.front)
        events_seen = events(deployment.front, job_id)
        seen = [next(events_seen)]
        assert seen[0][0] == "queued"
    seen += events_seen
    names = [name for name, _ in seen]
    assert names in (["queued", "running", "done"], ["queued", "done"])  # it may run too briefly to be seen
    assert [job["status"] for _, job in seen] == names
    assert seen[-1][1] == look(deployment.front, job_id)
    assert [name for name, _ in events(deployment.front, job_id)] == ["done"]


@full
def test_a_proxy_releases_waiting_clients_after_sigterm(deployment: Deployment) -> None:
    other = another_proxy(deployment.stack)
    wait_until(lambda: is_ready(other))
    with hung(deployment.predictor), ThreadPoolExecutor(2) as threads:
        job_id, before = hand_in(other), looks(deployment.redis)
        waiting = threads.submit(other.get, f"/jobs/{job_id}?wait=20")
        listening = threads.submit(lambda: [name for name, _ in events(other, job_id)])
        wait_until(lambda: looks(deployment.redis) >= before + 2)
        other.process.terminate()
        assert waiting.result(10).json()["status"] == "queued"
        assert listening.result(10) == ["queued"]
        other.process.wait(10)
    becomes(deployment.front, job_id, "done")


@full
@pytest.mark.parametrize("path", ["?wait=20", "/events"])
def test_waiting_clients_leave_room_for_jobs_and_free_their_places_when_they_leave(
    deployment: Deployment, path: str
) -> None:
    proxy = another_proxy(deployment.stack, max_concurrent_requests=20)
    wait_until(lambda: is_ready(proxy))
    with hung(deployment.predictor):
        job_id = hand_in(proxy)
        waiting = open_waits(proxy.port, job_id, 10, path)
        while waits_for(proxy, job_id, 0.1):
            waiting += open_waits(proxy.port, job_id, 1, path)
        other = hand_in(proxy)
        began = monotonic()
        assert proxy.get(f"/jobs/{other}?wait=5").json()["status"] == "queued"
        assert proxy.get(f"/jobs/{other}/events").status_code == 503
        assert monotonic() - began < SLACK_SECONDS
        for client in waiting:
            client.close()
        wait_until(lambda: waits_for(proxy, other, 0.3), 2)
    done(proxy, job_id, other)
    proxy.process.terminate()
    proxy.process.wait(10)


def waits_for(proxy: Server, job_id: str, seconds: float) -> bool:
    """Whether there is a place: the proxy answers when the time is over, not at once."""
    began = monotonic()
    assert proxy.get(f"/jobs/{job_id}?wait={seconds}").status_code == 200
    return monotonic() - began >= seconds
