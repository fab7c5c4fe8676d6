"""Jobs with the same ordering key are done one after another, as they came in, by however many predictors (A8)."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from tests.support.asynchronous_jobs import (
    QUICK,
    SEVEN,
    done,
    ended,
    hand_in,
    hand_in_all,
    hung,
    killed,
    moment,
    predictors,
)
from tests.support.processes import wait_until
from tests.support.service_process import Server, poisoned, slow_pixels, slow_reader
from tests.support.stack import System, asynchronous

KEYS = ("a", "b", "c")
pytestmark = pytest.mark.full  # the quick suite has a taste of it in test_asynchronous.py and test_broker.py


@pytest.fixture(scope="module")
def these(poison: str) -> Iterator[System]:
    """No predictor runs but those that a test starts, and one that the quick tests share."""
    with asynchronous({"predictor": {"model_uri": poison, **QUICK}}) as these:
        yield these


def in_order(these: System, job_ids: list[str]) -> None:
    """Each began when the one before it had ended, and not before."""
    jobs = [ended(these.front, job_id) for job_id in job_ids]
    for before, after in pairwise(jobs):
        assert moment(before, "finished") <= moment(after, "started"), (before, after)


def hand_in_keyed(these: System, count: int) -> dict[str, list[str]]:
    """So many jobs for each key, in turn, and as many without one in between."""
    lines: dict[str, list[str]] = {key: [] for key in KEYS}
    for _ in range(count):
        for key, line in lines.items():
            line.append(hand_in(these.front, ordering_key=key))
            hand_in(these.front)
    return lines


def test_jobs_with_the_same_key_are_done_one_after_another_as_they_came(these: System) -> None:
    for key, line in hand_in_keyed(these, 5).items():
        assert {job["ordering_key"] for job in done(these.front, *line)} == {key}
        in_order(these, line)


def test_keys_do_not_wait_for_each_other_and_what_has_none_waits_for_nobody(these: System) -> None:
    with hung(these.servers["predictor"]):
        bad = hand_in(these.front, poisoned(), ordering_key="bad")
        behind = hand_in(these.front, ordering_key="bad")
        others = [hand_in(these.front, ordering_key=key) for key in KEYS] + hand_in_all(these.front, [SEVEN] * 3)
    head = ended(these.front, bad)  # which is tried three times
    assert head["status"] == "failed"
    assert max(moment(job, "finished") for job in done(these.front, *others)) < moment(head, "finished")
    (next_,) = done(these.front, behind)
    assert moment(next_, "started") >= moment(head, "finished")


def test_a_dead_letter_at_the_head_lets_the_next_go_on_and_retries_do_not(these: System) -> None:
    line = [hand_in(these.front, body, ordering_key="poison") for body in (SEVEN, poisoned(), SEVEN, SEVEN)]
    jobs = [ended(these.front, job_id) for job_id in line]
    assert [(job["status"], job["attempts"]) for job in jobs] == [("done", 1), ("failed", 3), ("done", 1), ("done", 1)]
    in_order(these, line)


def test_one_that_is_called_off_lets_the_next_go_on(these: System) -> None:
    """At the head and in the middle."""
    with resting(these):
        line = [hand_in(these.front, ordering_key="off") for _ in range(5)]
        for place in (0, 2):
            assert these.front.client.delete(f"/jobs/{line[place]}").status_code == 200
    jobs = [ended(these.front, job_id) for job_id in line]
    assert [job["status"] for job in jobs] == ["failed", "done", "failed", "done", "done"]
    in_order(these, [line[1], line[3], line[4]])


@contextmanager
def resting(these: System) -> Iterator[None]:
    """The predictor stands still, and has nothing in hand that it may have begun."""
    predictor = these.servers["predictor"]
    with hung(predictor):
        these.store().client_kill_filter(_type="normal")  # one that waits would be given the first
        yield


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_a_key_that_is_empty_or_too_long_is_a_422(these: System, key: str) -> None:
    assert these.front.client.post("/jobs", json=SEVEN, params={"ordering_key": key}).status_code == 422


def test_a_retried_dead_letter_goes_to_the_end_of_its_line(these: System) -> None:
    bad = hand_in(these.front, poisoned(), ordering_key="again")
    assert ended(these.front, bad)["status"] == "failed"
    with hung(these.servers["predictor"]):
        behind = hand_in(these.front, ordering_key="again")
        assert these.front.client.post(f"/dead-letters/{bad}/retry").status_code == 202
        last = hand_in(these.front, ordering_key="again")
    assert ended(these.front, bad)["status"] == "failed"
    in_order(these, [behind, bad, last])


def test_without_a_key_a_later_job_may_be_done_earlier(these: System, poison: str, tmp_path: Path) -> None:
    """With one, on the same predictors, it is not."""
    slowly = slow_reader(tmp_path / "slow.onnx")
    these.stop("predictor")
    try:
        with predictors(these, 2, model_uri=slowly, **QUICK):
            for key, is_earlier in (("", True), ("slow", False)):
                query: dict[str, Any] = {"ordering_key": key} if key else {}
                slow = hand_in(these.front, slow_pixels(2), **query)
                sleep(0.3)
                quick = hand_in(these.front, slow_pixels(0), **query)
                first, second = (moment(job, "finished") for job in done(these.front, slow, quick))
                assert (second < first) == is_earlier
    finally:
        these.start("predictor", model_uri=poison, **QUICK)


def test_the_order_holds_for_three_predictors_of_which_two_are_killed(these: System, poison: str) -> None:
    with predictors(these, 2, model_uri=poison, **QUICK) as others:
        lines = hand_in_keyed(these, 40)
        for server in (these.servers["predictor"], *others):
            wait_until(partial(has_done_some, server))
        for server in others:
            lines = {
                key: line + more
                for (key, line), more in zip(lines.items(), hand_in_keyed(these, 10).values(), strict=True)
            }
            killed(server)
        for line in lines.values():
            done(these.front, *line)
            in_order(these, line)


def has_done_some(server: Server) -> bool:
    return server.metric("jobs_total", outcome="done") > 0
