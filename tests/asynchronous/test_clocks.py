"""A host whose clock is days off changes nothing: every time that decides something is Redis's (A1, A2, A7)."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.models.onnx_models import poisoned
from tests.support.processes import wait_until
from tests.support.queue.jobs import (
    SHORT_LEASE,
    another_predictor,
    another_proxy,
    dead_letters,
    done,
    ended,
    hand_in,
    moment,
    predictors,
    retry,
)
from tests.support.queue.shifted_clock import shifted
from tests.support.queue.webhook_receiver import ATTEMPTS, Receiver, delivery_deployment
from tests.support.service_process import is_ready
from tests.support.stack import asynchronous_stack

pytestmark = [pytest.mark.full, pytest.mark.faketime]


def is_recent(when: datetime) -> bool:
    return abs(datetime.now(UTC) - when) < timedelta(minutes=1)


@pytest.mark.parametrize("offset", ["+2d", "-2d"])
def test_results_of_a_predictor_with_a_wrong_clock_are_delivered_to_the_database(tmp_path: Path, offset: str) -> None:
    with delivery_deployment(tmp_path) as deployment:
        deployment.stack.stop("predictor")
        with predictors(deployment.stack, **SHORT_LEASE, **shifted(offset)) as (server,):
            job_ids = [hand_in(deployment.front) for _ in range(5)]
            jobs = done(deployment.front, *job_ids)
            log_time = datetime.fromisoformat(server.log_lines()[-1]["time"])
            assert not is_recent(log_time)  # its clock really is wrong
            wait_until(lambda: deployment.rows(job_ids) == dict.fromkeys(job_ids, ("done", 7)))
        assert all(is_recent(moment(job, name)) for job in jobs for name in ("submitted", "started", "finished"))


@pytest.mark.parametrize("offset", ["+10d", "-10d"])
def test_dead_letters_are_listed_and_retried_by_hosts_with_a_wrong_clock(poison: str, offset: str) -> None:
    """The predictor that gives the job up, and a proxy that lists it."""
    with asynchronous_stack({}) as stack:
        front = stack.front
        server = another_predictor(stack, model_uri=poison, **SHORT_LEASE, **shifted(offset))
        proxy = another_proxy(stack, **shifted(offset))
        wait_until(lambda: is_ready(server) and is_ready(proxy))
        bad = hand_in(proxy, poisoned())
        job = ended(front, bad)
        assert (job["status"], job["attempts"]) == ("failed", 3)
        assert (moment(job, "finished") - moment(job, "submitted")).total_seconds() > 0.3  # both retries waited
        for one in (front, proxy):
            assert is_recent(datetime.fromisoformat(dead_letters(one)[bad]["failed_at"]))
        assert retry(proxy, bad).status_code == 202
        assert ended(front, bad)["status"] == "failed"


@pytest.mark.parametrize("offset", ["+3d", "-3d"])
def test_webhooks_of_a_delivery_with_a_wrong_clock_are_signed_and_retried_on_time(tmp_path: Path, offset: str) -> None:
    with Receiver().listening() as receiver, delivery_deployment(tmp_path) as deployment:
        deployment.stack.stop("delivery")
        deployment.start_delivery(**shifted(offset))
        hand_in(deployment.front, callback_url=receiver.expecting("/hook", *[500] * (ATTEMPTS - 1), 204))
        got = [receiver.next() for _ in range(ATTEMPTS)]
        assert len({one.message_id for one in got}) == 1
        assert all(one.verified()["type"] == "job.done" for one in got)  # rejects a timestamp that is minutes off
        for wait, (before, after) in zip((1, 2), pairwise(got), strict=True):
            assert wait - 0.1 < after.at - before.at < wait + 3
