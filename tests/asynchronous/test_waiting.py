"""Who waits for a job, or listens to it, hears at once what becomes of it, and keeps nobody busy meanwhile (A1).

One Redis, one proxy, one predictor.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from tests.support.asynchronous_jobs import (
    SEVEN,
    Office,
    another_proxy,
    becomes,
    done,
    ended,
    events,
    hand_in,
    hand_in_all,
    hung,
    look,
    looks,
    office_with,
)
from tests.support.processes import wait_until
from tests.support.service_process import is_ready

SLACK_SECONDS = 1.0
full = pytest.mark.full


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with office_with() as office:
        yield office


def test_who_waits_has_the_job_as_soon_as_it_is_done_and_not_before(office: Office) -> None:
    with ThreadPoolExecutor(30) as threads:
        with hung(office.predictor):
            ids, before = hand_in_all(office.front, [SEVEN] * 10), looks(office.redis)
            waiting = [threads.submit(ended, office.front, job_id) for job_id in ids * 3]
            wait_until(lambda: looks(office.redis) >= before + len(waiting))
            assert not any(one.done() for one in waiting)
            resumed = monotonic()
        assert {one.result()["status"] for one in waiting} == {"done"}
        assert monotonic() - resumed < SLACK_SECONDS + 2


def test_a_wait_that_is_over_gives_the_job_as_it_is(office: Office) -> None:
    with hung(office.predictor):
        job_id, began = hand_in(office.front), monotonic()
        answer = office.front.get(f"/jobs/{job_id}?wait=0.3")
        assert 0.3 <= monotonic() - began < 0.3 + SLACK_SECONDS
        assert answer.json()["status"] == "queued"
        assert int(answer.headers["retry-after"]) > 0
    done(office.front, job_id)


@full
def test_who_waits_does_not_keep_redis_busy(office: Office) -> None:
    waiters, seconds = 50, 3
    with hung(office.predictor), ThreadPoolExecutor(waiters) as threads:
        job_id = hand_in(office.front)
        office.redis.config_resetstat()
        wait = lambda _: office.front.get(f"/jobs/{job_id}?wait={seconds}").json()["status"]  # noqa: E731
        assert set(threads.map(wait, range(waiters))) == {"queued"}
        assert looks(office.redis) < waiters * (seconds + 4)
    done(office.front, job_id)


def test_events_tell_the_states_in_order_and_end_with_the_job(office: Office) -> None:
    with hung(office.predictor):
        job_id = hand_in(office.front)
        told = events(office.front, job_id)
        seen = [next(told)]
        assert seen[0][0] == "queued"
    seen += told
    names = [name for name, _ in seen]
    assert names in (["queued", "running", "done"], ["queued", "done"])  # quick as it is, nobody may see it run
    assert [job["status"] for _, job in seen] == names
    assert seen[-1][1] == look(office.front, job_id)
    assert [name for name, _ in events(office.front, job_id)] == ["done"]


@full
def test_a_proxy_that_is_told_to_end_lets_go_of_those_who_wait(office: Office) -> None:
    other = another_proxy(office.these)
    wait_until(lambda: is_ready(other))
    with hung(office.predictor), ThreadPoolExecutor(2) as threads:
        job_id, before = hand_in(other), looks(office.redis)
        waiting = threads.submit(other.get, f"/jobs/{job_id}?wait=20")
        listening = threads.submit(lambda: [name for name, _ in events(other, job_id)])
        wait_until(lambda: looks(office.redis) >= before + 2)
        other.process.terminate()
        assert waiting.result(10).json()["status"] == "queued"
        assert listening.result(10) == ["queued"]
        other.process.wait(10)
    becomes(office.front, job_id, "done")
