"""The asynchronous pattern as its clients see it: a job is submitted now and fetched later, once, or cancelled (A1).

One Redis, one proxy, one predictor.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from uuid import UUID, uuid4

import pytest

from asynchronous.settings import ProxySettings
from tests.support.models.onnx_models import POISON, poisoned
from tests.support.processes import wait_until
from tests.support.queue.jobs import (
    TWO_ATTEMPTS,
    Deployment,
    dead_letters,
    deployment_with,
    done,
    ended,
    hand_in,
    hand_in_all,
    hung,
    look,
    moment,
    submit,
)
from tests.support.redis_servers import OTHERS, redis_server
from tests.support.samples import PNG, SAMPLES, SEVEN_JSON
from tests.support.service_process import Server
from tests.support.stack import stack_of


@pytest.fixture(scope="module")
def deployment(poison: str) -> Iterator[Deployment]:
    with deployment_with(model_uri=poison, **TWO_ATTEMPTS) as deployment:
        yield deployment


@pytest.fixture
def front(deployment: Deployment) -> Server:
    return deployment.front


# Submitting and fetching


def test_a_job_is_accepted_at_once_and_fetched_later(front: Server) -> None:
    answer = submit(front)
    job_id = answer.json()["job_id"]
    assert answer.status_code == 202
    assert answer.json() == {"job_id": job_id, "status": "queued", "delivery": "at-least-once"}
    assert answer.headers["location"] == f"/jobs/{job_id}"
    assert int(answer.headers["retry-after"]) > 0
    assert str(UUID(job_id)) == job_id
    job = ended(front, job_id)
    assert (job["job_id"], job["status"], job["attempts"], job["error"]) == (job_id, "done", 1, None)
    assert moment(job, "submitted") <= moment(job, "started") <= moment(job, "finished")


def test_a_job_reads_what_the_predictor_reads(deployment: Deployment) -> None:
    for name in ("zero", "two", "four", "seven"):
        picture = (SAMPLES / f"{name}.png").read_bytes()
        job_id = deployment.front.client.post("/jobs", content=picture, headers=PNG).json()["job_id"]
        assert ended(deployment.front, job_id)["prediction"] == deployment.predictor.read(picture).json()


def test_an_accepted_job_is_in_redis_and_waits_there_for_a_predictor(deployment: Deployment) -> None:
    with hung(deployment.predictor):
        for job_id in (ids := hand_in_all(deployment.front, [SEVEN_JSON] * 20)):
            assert deployment.redis.hlen(f"asynchronous:job:{job_id}") > 0
            assert look(deployment.front, job_id)["status"] == "queued"
    done(deployment.front, *ids)


@pytest.mark.parametrize("path", ["/jobs/{}", "/jobs/{}?wait=5", "/jobs/{}/events"])
def test_an_unknown_job_is_a_404_and_a_malformed_id_a_422(front: Server, path: str) -> None:
    assert front.get(path.format(uuid4())).status_code == 404
    answer = front.get(path.format("seven"))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "soon"])
def test_an_invalid_wait_is_a_422(front: Server, wait: str) -> None:
    assert front.get(f"/jobs/{hand_in(front)}?wait={wait}").status_code == 422


# Calling off


def test_a_queued_job_can_be_cancelled_and_is_never_done(deployment: Deployment) -> None:
    with ThreadPoolExecutor(1) as threads, hung(deployment.predictor):
        job_ids = hand_in_all(deployment.front, [SEVEN_JSON] * 5)
        waiting = threads.submit(ended, deployment.front, job_ids[0])
        for job_id in job_ids:
            answer = deployment.front.client.delete(f"/jobs/{job_id}")
            assert (answer.status_code, answer.json()["status"]) == (200, "failed")
            assert "cancelled" in answer.json()["error"]
        assert waiting.result() == look(deployment.front, job_ids[0])
    done(deployment.front, *hand_in_all(deployment.front, [SEVEN_JSON] * 3))
    for job_id in job_ids:
        job = look(deployment.front, job_id)
        assert (job["status"], job["prediction"], job["attempts"], job["started_at"]) == ("failed", None, 0, None)
        assert deployment.front.client.delete(f"/jobs/{job_id}").status_code == 409
    assert not dead_letters(deployment.front).keys() & set(job_ids)


def test_a_done_job_cannot_be_cancelled(front: Server) -> None:
    (job,) = done(front, hand_in(front))
    assert front.client.delete(f"/jobs/{job['job_id']}").status_code == 409
    assert look(front, job["job_id"]) == job
    assert front.client.delete(f"/jobs/{uuid4()}").status_code == 404
    assert front.client.delete("/jobs/seven").status_code == 422


# The predictor's batches


def test_a_bad_item_fails_alone_and_the_rest_of_its_batch_is_done(deployment: Deployment) -> None:
    with hung(deployment.predictor):
        first, *ids = hand_in_all(deployment.front, [SEVEN_JSON] * 25)
        bad = hand_in(deployment.front, poisoned())
        ids += hand_in_all(deployment.front, [SEVEN_JSON] * 25)
    assert {job["attempts"] for job in done(deployment.front, first, *ids)} == {1}
    job = ended(deployment.front, bad)
    assert (job["status"], job["attempts"], job["prediction"]) == ("failed", 2, None)
    letter = dead_letters(deployment.front)[bad]
    assert letter["error"] == job["error"]
    assert (letter["attempts"], letter["pixels"]) == (2, [POISON, *SEVEN_JSON["pixels"][1:]])


def test_waiting_jobs_are_done_in_few_inferences(deployment: Deployment) -> None:
    before = [deployment.predictor.metric(f"batch_rows_{what}") for what in ("count", "sum")]
    with hung(deployment.predictor):
        ids = hand_in_all(deployment.front, [SEVEN_JSON] * 100)
    done(deployment.front, *ids)
    count, rows = (deployment.predictor.metric(f"batch_rows_{what}") for what in ("count", "sum"))
    assert rows - before[1] == 100
    assert count - before[0] <= 4


def test_the_predictor_counts_attempts_by_outcome_and_open_jobs(deployment: Deployment) -> None:
    def counted() -> list[float]:
        return [deployment.predictor.metric("jobs_total", outcome=outcome) for outcome in ("done", "retry", "dead")]

    before = counted()
    good, bad = hand_in(deployment.front), hand_in(deployment.front, poisoned())
    done(deployment.front, good)
    ended(deployment.front, bad)
    wait_until(lambda: counted() == [before[0] + 1, before[1] + 1, before[2] + 1], 5)
    wait_until(lambda: deployment.predictor.metric("jobs_open") == 0, 5)


def test_a_trace_goes_through_the_queue(deployment: Deployment) -> None:
    trace = uuid4().hex
    job_id = hand_in(deployment.front, SEVEN_JSON, {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    done(deployment.front, job_id)
    (line,) = deployment.front.logged(trace_id=trace)
    assert (line["path"], line["status"], line["job_id"]) == ("/jobs", 202, job_id)
    (line,) = deployment.predictor.logged(trace_id=trace)
    assert job_id in line["message"]


# Who works on the queue


@pytest.mark.full
def test_metrics_of_the_proxy_and_its_jobs_show_that_no_predictor_is_running() -> None:
    with deployment_with(**TWO_ATTEMPTS) as deployment:
        metric = deployment.front.metric
        wait_until(lambda: metric("predictors_alive") == 1)
        deployment.stack.stop("predictor")
        job_id, *_ = hand_in_all(deployment.front, [SEVEN_JSON] * 3)
        wait_until(lambda: metric("queue_depth") == 3)
        wait_until(lambda: metric("oldest_job_seconds") > 2)
        wait_until(lambda: metric("predictors_alive") == 0, 15)
        assert look(deployment.front, job_id)["waiting_for"] == "a predictor: none is running"
        deployment.stack.start("predictor")
        (job,) = done(deployment.front, job_id)
        assert job["waiting_for"] is None


@pytest.mark.full
def test_a_job_is_a_503_while_no_predictor_is_running_if_one_is_required() -> None:
    with stack_of("asynchronous") as stack:
        stack.start("redis")
        proxy = stack.start("asynchronous", require_predictor=True)
        answer = submit(proxy)
        assert (answer.status_code, answer.json()["detail"]) == (503, "no predictor is running: try again later")
        assert int(answer.headers["retry-after"]) > 0
        stack.start("predictor")
        wait_until(lambda: submit(proxy).status_code == 202)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["valkey", *OTHERS])
def test_only_predictors_that_run_are_counted_without_a_job_and_after_a_restart_of_redis(kind: str) -> None:
    """Redis 7.0 has no consumer for a predictor without a job; at its start, Redis makes all consumers look active."""
    with redis_server(kind) as server, stack_of("asynchronous") as stack:
        required = {"redis_url": server.url, "require_predictor": True}
        proxy = stack.start("asynchronous", **required)
        for _ in range(2):
            stack.start("predictor", redis_url=server.url)
            wait_until(lambda: proxy.metric("predictors_alive") == 1 and submit(proxy).status_code == 202)
            done(proxy, hand_in(proxy))
            stack.stop("predictor")
            wait_until(lambda: proxy.metric("predictors_alive") == 0, 15)
            server.kill()
            server.begin()
            wait_until(server.answers)
        stack.stop("asynchronous")
        proxy = stack.start("asynchronous", **required)
        for _ in range(10):
            assert (proxy.metric("predictors_alive"), submit(proxy).status_code) == (0, 503)
            sleep(0.2)


def test_only_a_queue_can_require_a_predictor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_PREDICTOR", "true")
    monkeypatch.setenv("TRIGGER", "pubsub")
    with pytest.raises(SystemExit, match="REQUIRE_PREDICTOR=true: Value error, expected TRIGGER=queue"):
        ProxySettings.from_environment()
