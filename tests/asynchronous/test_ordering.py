"""Jobs with the same ordering key are done one after another, as they came in, by however many predictors (A8)."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from tests.support.models.onnx_models import poisoned, slow_pixels, slow_reader
from tests.support.processes import wait_until
from tests.support.queue.jobs import SHORT_LEASE, done, ended, hand_in, hand_in_all, hung, killed, moment, predictors
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server
from tests.support.stack import Stack, asynchronous_stack

KEYS = ("a", "b", "c")
pytestmark = pytest.mark.full  # the quick suite has a taste of it in test_jobs.py and test_queue.py


@pytest.fixture(scope="module")
def stack(poison: str) -> Iterator[Stack]:
    """No predictor runs but those that a test starts, and one that the quick tests share."""
    with asynchronous_stack({"predictor": {"model_uri": poison, **SHORT_LEASE}}) as stack:
        yield stack


def in_order(stack: Stack, job_ids: list[str]) -> None:
    """Each began when the one before it had ended, and not before."""
    jobs = [ended(stack.front, job_id) for job_id in job_ids]
    for before, after in pairwise(jobs):
        assert moment(before, "finished") <= moment(after, "started"), (before, after)


def hand_in_keyed(stack: Stack, count: int) -> dict[str, list[str]]:
    """So many jobs for each key, in turn, and as many without one in between."""
    lines: dict[str, list[str]] = {key: [] for key in KEYS}
    for _ in range(count):
        for key, line in lines.items():
            line.append(hand_in(stack.front, ordering_key=key))
            hand_in(stack.front)
    return lines


def test_jobs_with_the_same_key_are_done_in_order_of_arrival(stack: Stack) -> None:
    for key, line in hand_in_keyed(stack, 5).items():
        assert {job["ordering_key"] for job in done(stack.front, *line)} == {key}
        in_order(stack, line)


def test_jobs_do_not_wait_for_other_keys(stack: Stack) -> None:
    with hung(stack.servers["predictor"]):
        bad = hand_in(stack.front, poisoned(), ordering_key="bad")
        behind = hand_in(stack.front, ordering_key="bad")
        others = [hand_in(stack.front, ordering_key=key) for key in KEYS] + hand_in_all(stack.front, [SEVEN_JSON] * 3)
    head = ended(stack.front, bad)  # which is tried three times
    assert head["status"] == "failed"
    assert max(moment(job, "finished") for job in done(stack.front, *others)) < moment(head, "finished")
    (next_,) = done(stack.front, behind)
    assert moment(next_, "started") >= moment(head, "finished")


def test_a_dead_letter_releases_the_next_job_and_a_retry_does_not(stack: Stack) -> None:
    line = [
        hand_in(stack.front, body, ordering_key="poison") for body in (SEVEN_JSON, poisoned(), SEVEN_JSON, SEVEN_JSON)
    ]
    jobs = [ended(stack.front, job_id) for job_id in line]
    assert [(job["status"], job["attempts"]) for job in jobs] == [("done", 1), ("failed", 3), ("done", 1), ("done", 1)]
    in_order(stack, line)


def test_a_cancelled_job_releases_the_next_one(stack: Stack) -> None:
    """At the head and in the middle."""
    with resting(stack):
        line = [hand_in(stack.front, ordering_key="off") for _ in range(5)]
        for place in (0, 2):
            assert stack.front.client.delete(f"/jobs/{line[place]}").status_code == 200
    jobs = [ended(stack.front, job_id) for job_id in line]
    assert [job["status"] for job in jobs] == ["failed", "done", "failed", "done", "done"]
    in_order(stack, [line[1], line[3], line[4]])


@contextmanager
def resting(stack: Stack) -> Iterator[None]:
    """The predictor stands still, and has nothing in hand that it may have begun."""
    predictor = stack.servers["predictor"]
    with hung(predictor):
        stack.store().client_kill_filter(_type="normal")  # one that waits would be given the first
        yield


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_an_empty_or_too_long_key_is_a_422(stack: Stack, key: str) -> None:
    assert stack.front.client.post("/jobs", json=SEVEN_JSON, params={"ordering_key": key}).status_code == 422


def test_a_retried_dead_letter_goes_to_the_end_of_its_list(stack: Stack) -> None:
    bad = hand_in(stack.front, poisoned(), ordering_key="again")
    assert ended(stack.front, bad)["status"] == "failed"
    with hung(stack.servers["predictor"]):
        behind = hand_in(stack.front, ordering_key="again")
        assert stack.front.client.post(f"/dead-letters/{bad}/retry").status_code == 202
        last = hand_in(stack.front, ordering_key="again")
    assert ended(stack.front, bad)["status"] == "failed"
    in_order(stack, [behind, bad, last])


def test_a_later_job_without_a_key_may_be_done_earlier(stack: Stack, poison: str, tmp_path: Path) -> None:
    """With one, on the same predictors, it is not."""
    slowly = slow_reader(tmp_path / "slow.onnx")
    stack.stop("predictor")
    try:
        with predictors(stack, 2, model_uri=slowly, batching="on", **SHORT_LEASE):
            for key, is_earlier in (("", True), ("slow", False)):
                query: dict[str, Any] = {"ordering_key": key} if key else {}
                slow = hand_in(stack.front, slow_pixels(2), **query)
                sleep(0.3)
                quick = hand_in(stack.front, slow_pixels(0), **query)
                first, second = (moment(job, "finished") for job in done(stack.front, slow, quick))
                assert (second < first) == is_earlier
    finally:
        stack.start("predictor", model_uri=poison, **SHORT_LEASE)


def test_the_order_holds_when_two_of_three_predictors_are_killed(stack: Stack, poison: str) -> None:
    with predictors(stack, 2, model_uri=poison, **SHORT_LEASE) as others:
        lines = hand_in_keyed(stack, 40)
        for server in (stack.servers["predictor"], *others):
            wait_until(partial(has_done_some, server))
        for server in others:
            lines = {
                key: line + more
                for (key, line), more in zip(lines.items(), hand_in_keyed(stack, 10).values(), strict=True)
            }
            killed(server)
        for line in lines.values():
            done(stack.front, *line)
            in_order(stack, line)


def has_done_some(server: Server) -> bool:
    return server.metric("jobs_total", outcome="done") > 0
