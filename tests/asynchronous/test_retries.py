"""A failed job is tried again, in the predictor or through the queue (A6), and ends among the dead letters (A7).

One Redis, one proxy, and the predictors that a test starts. Some of them lose Redis between two attempts.
"""

from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import pytest

from asynchronous.queue import GROUP, STREAM
from tests.support.http import fault_proxy as faults
from tests.support.http.fault_proxy import Link
from tests.support.models.onnx_models import POISON, poisoned, slow_pixels
from tests.support.processes import wait_until
from tests.support.queue.deadly_predictor import DEADLY
from tests.support.queue.jobs import (
    SHORT_LEASE,
    another_predictor,
    dead_letters,
    done,
    ended,
    hand_in,
    hand_in_all,
    killed,
    look,
    moment,
    predictors,
    retry,
)
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import is_ready
from tests.support.stack import Stack, asynchronous_stack

ATTEMPTS = 3
pytestmark = pytest.mark.full  # the quick suite has a taste of it in test_jobs.py and test_queue.py


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """No predictor runs but those that a test starts."""
    with asynchronous_stack({}) as stack:
        yield stack


def is_dead_alone(stack: Stack, count: int) -> str:
    """One bad job among so many good ones: it alone is a dead letter, after all its attempts; gives its id."""
    bodies = [SEVEN_JSON] * count
    before = hand_in_all(stack.front, bodies[: count // 2])
    bad = hand_in(stack.front, poisoned())
    after = hand_in_all(stack.front, bodies[count // 2 :])
    assert {job["attempts"] for job in done(stack.front, *before, *after)} == {1}
    job = ended(stack.front, bad)
    assert (job["status"], job["attempts"], job["prediction"]) == ("failed", ATTEMPTS, None)
    # A tenth of a second before the second attempt, two tenths before the third.
    assert (moment(job, "finished") - moment(job, "submitted")).total_seconds() > 0.3
    letter = dead_letters(stack.front)[bad]
    assert (letter["error"], letter["attempts"]) == (job["error"], ATTEMPTS)
    assert letter["error"]
    assert letter["pixels"] == [POISON, *SEVEN_JSON["pixels"][1:]]
    assert not dead_letters(stack.front).keys() & {*before, *after}
    return bad


def test_a_poison_job_is_retried_through_the_queue_and_then_a_dead_letter(stack: Stack, poison: str) -> None:
    with predictors(stack, model_uri=poison, **SHORT_LEASE) as (server,):
        is_dead_alone(stack, 1_000)
        assert server.metric("jobs_total", outcome="retry") == ATTEMPTS - 1


def test_a_poison_job_is_retried_in_the_predictor_and_then_a_dead_letter(stack: Stack, poison: str) -> None:
    with predictors(stack, retry="predictor", model_uri=poison, **SHORT_LEASE) as (server,):
        is_dead_alone(stack, 1_000)
        assert server.metric("jobs_total", outcome="retry") == 0


def test_a_dead_letter_is_done_when_the_model_is_replaced_by_a_good_one(stack: Stack, poison: str) -> None:
    with predictors(stack, model_uri=poison, **SHORT_LEASE):
        bad = hand_in(stack.front, poisoned())
        assert ended(stack.front, bad)["status"] == "failed"
        answer = retry(stack.front, bad)
        assert (answer.status_code, answer.headers["location"]) == (202, f"/jobs/{bad}")
        assert ended(stack.front, bad)["status"] == "failed"  # as bad as before
        assert bad in dead_letters(stack.front)
    assert retry(stack.front, bad).json() == {"job_id": bad, "status": "queued", "delivery": "at-least-once"}
    waiting = look(stack.front, bad)
    assert (waiting["status"], waiting["attempts"], waiting["error"]) == ("queued", 0, None)
    assert bad not in dead_letters(stack.front)
    assert retry(stack.front, bad).status_code == 404
    with predictors(stack, **SHORT_LEASE):
        (job,) = done(stack.front, bad)
        assert (job["attempts"], job["error"]) == (1, None)
    assert retry(stack.front, bad).status_code == 404


def test_only_a_dead_letter_can_be_retried(stack: Stack) -> None:
    job_id = hand_in(stack.front)
    assert retry(stack.front, job_id).status_code == 404
    assert stack.front.client.delete(f"/jobs/{job_id}").status_code == 200
    assert retry(stack.front, job_id).status_code == 404
    assert retry(stack.front, "seven").status_code == 422
    assert stack.front.get("/dead-letters?count=0").status_code == 422


def test_a_dead_letter_from_before_the_domain_was_replaced_is_listed_without_its_input(stack: Stack) -> None:
    job_id = str(uuid4())
    letter = {"job_id": job_id, "attempts": 3, "error": "TimeoutError", "payload": bytes(3)}
    stack.store().xadd("asynchronous:dead-letters", letter)  # type: ignore[arg-type]
    found = dead_letters(stack.front)[job_id]
    assert found.keys() == {"job_id", "failed_at", "attempts", "error"}


def test_a_job_that_kills_its_predictor_is_a_dead_letter_after_max_attempts_crashes(stack: Stack) -> None:
    """And takes nothing of its batch with it."""
    good = hand_in_all(stack.front, [SEVEN_JSON] * 10)
    deadly = hand_in(stack.front, {"pixels": [DEADLY, *SEVEN_JSON["pixels"][1:]]})
    good += hand_in_all(stack.front, [SEVEN_JSON] * 10)
    crashes, end = 0, monotonic() + 60
    server = another_predictor(stack, app="tests.support.queue.deadly_predictor:create_app", **SHORT_LEASE)
    while look(stack.front, deadly)["status"] != "failed":
        assert monotonic() < end
        if server.process.poll() is not None:
            crashes += 1
            server = another_predictor(stack, app="tests.support.queue.deadly_predictor:create_app", **SHORT_LEASE)
        sleep(0.05)
    job = look(stack.front, deadly)
    assert (job["attempts"], crashes) == (ATTEMPTS, ATTEMPTS)
    assert dead_letters(stack.front)[deadly]["error"] == job["error"]
    assert {job["attempts"] for job in done(stack.front, *good)} <= {1, 2}
    assert not dead_letters(stack.front).keys() & set(good)
    killed(server)


def test_a_predictor_busy_with_retries_claims_the_job_of_a_dead_one_afterwards(stack: Stack, poison: str) -> None:
    bound: dict[str, object] = {"retry": "predictor", "max_queue_rows": 1, "model_uri": poison}
    with predictors(stack, 1, **SHORT_LEASE | bound | {"backoff_seconds": 2}) as (server,):
        first = hand_in(stack.front, poisoned())
        wait_until(lambda: look(stack.front, first)["status"] == "running" and server.metric("batch_rows_count") >= 1)
        client = stack.store()
        client.xgroup_createconsumer(STREAM, GROUP, "dead")
        second = hand_in(stack.front, poisoned())
        assert client.xreadgroup(GROUP, "dead", {STREAM: ">"})
        jobs = [ended(stack.front, job_id) for job_id in (first, second)]
        assert [(job["status"], job["attempts"]) for job in jobs] == [("failed", ATTEMPTS)] * 2
        assert not [line for line in server.log_lines() if line["level"] != "INFO"]


def test_an_attempt_that_takes_too_long_fails(stack: Stack, slow_model: str) -> None:
    settings: dict[str, Any] = {
        "model_uri": slow_model,
        "batching": "on",
        "job_timeout_seconds": 0.4,
        "max_attempts": 2,
        **SHORT_LEASE,
    }
    with predictors(stack, 1, **settings):
        job_id = hand_in(stack.front, slow_pixels(1))
        job = ended(stack.front, job_id)
        assert (job["status"], job["attempts"]) == ("failed", 2)
        assert job["error"] == "the deadline passed before the inference was done"
        sleep(1.5)  # the model ends what it has begun
        done(stack.front, hand_in(stack.front, slow_pixels(0)))


def test_a_predictor_continues_after_its_connection_to_redis_was_half_open(stack: Stack) -> None:
    """No packet says that the connection is gone: a broken cable, a host that is down."""
    with Link(stack.port("redis")).running() as link:
        server = another_predictor(stack, redis_url=f"redis://127.0.0.1:{link.port}/0", **SHORT_LEASE)
        done(stack.front, hand_in(stack.front))
        link.set(faults.SWALLOW)
        wait_until(lambda: not is_ready(server))
        job_id = hand_in(stack.front)
        sleep(1)
        link.set(faults.PASS)
        try:
            done(stack.front, job_id)
        finally:
            killed(server)
            stack.front.client.delete(f"/jobs/{job_id}")


@pytest.mark.parametrize("how", ["queue", "predictor"])
def test_a_predictor_continues_after_redis_was_away(stack: Stack, poison: str, how: str) -> None:
    with Link(stack.port("redis")).running() as link:
        settings: dict[str, Any] = {
            "redis_url": f"redis://127.0.0.1:{link.port}/0",
            "retry": how,
            "model_uri": poison,
            **SHORT_LEASE,
        }
        with predictors(stack, 1, **settings):
            bad = hand_in(stack.front, poisoned())
            sleep(0.15)
            link.set(faults.REFUSE)
            ids = hand_in_all(stack.front, [SEVEN_JSON] * 5)
            sleep(1)
            link.set(faults.PASS)
            done(stack.front, *ids)
            assert ended(stack.front, bad)["status"] == "failed"
            assert bad in dead_letters(stack.front)
