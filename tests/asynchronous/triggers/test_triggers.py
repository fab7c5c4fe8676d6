"""What makes a predictor begin a job: a queue, a cache or Pub/Sub (A3, A4, A5); what each promises, and what it loses.

One Redis; of each trigger a proxy, and the predictors that a test starts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep
from typing import NamedTuple
from uuid import uuid4

import pytest
from redis import Redis

from tests.support.models.onnx_models import poison_reader, poisoned, slow_pixels, slow_reader
from tests.support.processes import free_port, wait_until
from tests.support.queue.jobs import (
    SHORT_LEASE,
    becomes,
    done,
    ended,
    events,
    hand_in,
    hand_in_all,
    killed,
    look,
    predictors,
    submit,
)
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server, is_ready
from tests.support.stack import Stack, stack_of

TRIGGERS = ("queue", "cache", "pubsub")
OTHERS = ("cache", "pubsub")
DELIVERY = {"queue": "at-least-once", "cache": "at-least-once", "pubsub": "at-most-once"}
FEW = 20
pytestmark = pytest.mark.full  # the quick suite has a taste of it in test_jobs.py and test_queue.py


class Deployment(NamedTuple):
    """A proxy for each trigger, on the same Redis; models to start predictors with."""

    stack: Stack
    fronts: dict[str, Server]
    poison: str
    slow: str
    redis: "Redis"

    @contextmanager
    def predictors(self, trigger: str, model: str, count: int = 1) -> Iterator[list[Server]]:
        with predictors(self.stack, count, trigger=trigger, model_uri=model, **SHORT_LEASE) as servers:
            if trigger == "pubsub":
                wait_until(lambda: self.listeners() >= count)
            yield servers
        wait_until(lambda: self.listeners() == 0)

    def listeners(self) -> int:
        return dict(self.redis.pubsub_numsub("asynchronous:pubsub:jobs"))[b"asynchronous:pubsub:jobs"]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("models")
    models = poison_reader(folder / "mlp.onnx"), slow_reader(folder / "slow.onnx")
    with stack_of("asynchronous") as stack:
        stack.start("redis")
        fronts = {}
        for trigger in TRIGGERS:
            port = free_port()
            ports = {"asynchronous_port": port, "asynchronous_asynchronous_port": port}
            fronts[trigger] = stack.launch("asynchronous", trigger=trigger, max_queued_jobs=FEW, **ports)
        wait_until(lambda: all(map(is_ready, fronts.values())))
        yield Deployment(stack, fronts, *models, stack.store())
        for front in fronts.values():
            front.process.terminate()


def test_the_202_says_what_each_trigger_promises(deployment: Deployment) -> None:
    for trigger, front in deployment.fronts.items():
        answer = submit(front)
        assert (answer.status_code, answer.json()["delivery"]) == (202, DELIVERY[trigger])
        assert answer.headers["location"] == f"/jobs/{answer.json()['job_id']}"


@pytest.mark.parametrize("trigger", OTHERS)
def test_an_option_that_only_the_queue_supports_is_a_422(deployment: Deployment, trigger: str) -> None:
    front = deployment.fronts[trigger]
    for headers, query in (({"Idempotency-Key": str(uuid4())}, {}), ({}, {"ordering_key": "a"})):
        answer = submit(front, SEVEN_JSON, headers, **query)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert "TRIGGER=queue" in answer.json()["detail"]


def test_the_number_of_jobs_in_the_cache_is_bounded(deployment: Deployment) -> None:
    front = deployment.fronts["cache"]
    while (answer := submit(front)).status_code == 202:
        assert int(deployment.redis.scard("asynchronous:cache:open")) <= FEW
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


@pytest.mark.parametrize("trigger", OTHERS)
def test_jobs_are_done_and_one_that_fails_fails_alone(deployment: Deployment, trigger: str) -> None:
    front = deployment.fronts[trigger]
    with deployment.predictors(trigger, deployment.poison):
        wait_until(lambda: deployment.redis.scard("asynchronous:cache:open") == 0 or trigger != "cache")
        ids = hand_in_all(front, [SEVEN_JSON] * 10)
        bad = hand_in(front, poisoned())
        done(front, *ids)
        job = ended(front, bad)
        assert (job["status"], job["prediction"], job["attempts"]) == ("failed", None, 1)
        assert job["error"]
        name, events_seen = list(events(front, hand_in(front)))[-1]
        assert (name, events_seen["prediction"]["digit"]) == ("done", 7)
        assert front.get("/dead-letters").json() == []


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_only_pubsub_loses_jobs_without_a_subscriber_and_jobs_of_a_killed_predictor(
    deployment: Deployment, trigger: str
) -> None:
    front = deployment.fronts[trigger]
    unseen = hand_in(front, slow_pixels(0))
    with deployment.predictors(trigger, deployment.slow) as (server,):
        done(front, hand_in(front, slow_pixels(0)))
        begun = hand_in(front, slow_pixels(1.5))
        if trigger == "cache":  # no predictor holds a job, so its status does not change
            sleep(0.5)
        else:
            becomes(front, begun, "running")
        killed(server)
    with deployment.predictors(trigger, deployment.slow):
        done(front, hand_in(front, slow_pixels(0)))
        if trigger == "pubsub":
            sleep(1)
            assert [look(front, job_id)["status"] for job_id in (unseen, begun)] == ["queued", "running"]
        else:
            done(front, unseen, begun)


@pytest.mark.parametrize(("trigger", "times"), [("cache", 2), ("pubsub", 1)])
def test_two_predictors_do_a_job_twice_from_the_cache_and_once_by_pubsub(
    deployment: Deployment, trigger: str, times: int
) -> None:
    front = deployment.fronts[trigger]
    with deployment.predictors(trigger, deployment.slow, 2) as servers:

        def inferences() -> float:
            return sum(server.metric("batch_rows_sum") for server in servers)

        wait_until(lambda: deployment.redis.scard("asynchronous:cache:open") == 0)
        sleep(0.3)
        before = inferences()
        (job,) = done(front, hand_in(front, slow_pixels(1)))
        wait_until(lambda: inferences() - before == times)
        sleep(0.2)
        assert inferences() - before == times
        assert look(front, job["job_id"])["prediction"] == job["prediction"]


def test_the_first_result_of_a_job_in_the_cache_stays(deployment: Deployment) -> None:
    """One of the two that do the job loses patience with it, and the other does not."""
    front = deployment.fronts["cache"]
    with (
        deployment.predictors("cache", deployment.slow) as (patient,),
        predictors(
            deployment.stack,
            1,
            trigger="cache",
            model_uri=deployment.slow,
            batching="on",
            job_timeout_seconds=0.4,
            **SHORT_LEASE,
        ),
    ):
        wait_until(lambda: deployment.redis.scard("asynchronous:cache:open") == 0)
        before = patient.metric("batch_rows_sum")
        failed = ended(front, hand_in(front, slow_pixels(2)))
        assert (failed["status"], failed["prediction"]) == ("failed", None)
        wait_until(lambda: patient.metric("batch_rows_sum") > before)
        sleep(0.2)
        assert look(front, failed["job_id"]) == failed


@pytest.mark.parametrize("trigger", OTHERS)
def test_only_the_queue_can_cancel_a_job(deployment: Deployment, trigger: str) -> None:
    front = deployment.fronts[trigger]
    job_id = hand_in(front)
    answer = front.client.delete(f"/jobs/{job_id}")
    assert answer.status_code == 409, answer.text
    assert trigger in answer.json()["detail"]
    assert look(front, job_id)["status"] == "queued"
