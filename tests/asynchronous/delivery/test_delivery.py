"""Results go to other places than the client: a database, and a webhook that is signed and tried again (A2)."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import pytest
from standardwebhooks import Webhook

from tests.support.http import fault_proxy as faults
from tests.support.http.fault_proxy import Link
from tests.support.models.onnx_models import poisoned
from tests.support.processes import wait_until
from tests.support.queue.jobs import SHORT_LEASE, done, ended, hand_in, hand_in_all, hung, killed, look, retry
from tests.support.queue.webhook_receiver import ATTEMPTS, SECRET, DeliveryDeployment, Receiver, delivery_deployment
from tests.support.samples import SEVEN_JSON

full = pytest.mark.full


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeliveryDeployment]:
    with delivery_deployment(tmp_path_factory.mktemp("delivery")) as deployment:
        yield deployment


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().listening() as receiver:
        yield receiver


# The result database


@full
def test_a_result_that_cannot_be_stored_is_put_aside_with_its_error_and_the_others_go_on(
    deployment: DeliveryDeployment,
) -> None:
    """One was written by another model; one is rejected by the database."""
    redis, delivery = deployment.stack.store(), deployment.stack.servers["delivery"]
    other, rejected = hand_in_all(deployment.front, [SEVEN_JSON] * 2)
    done(deployment.front, other, rejected)
    wait_until(lambda: len(deployment.rows([other, rejected])) == 2)
    with closing(sqlite3.connect(deployment.database)) as connection, connection:
        connection.execute(
            f"CREATE TRIGGER odd BEFORE INSERT ON results WHEN NEW.job_id = '{rejected}'"
            " BEGIN SELECT RAISE(ABORT, 'so it is'); END"
        )
    redis.hset(f"asynchronous:job:{other}", "prediction", '{"species": "cat"}')
    for job_id in (other, rejected):
        redis.xadd("asynchronous:finished", {"job_id": job_id})
    fine = hand_in_all(deployment.front, [SEVEN_JSON] * 5)
    wait_until(lambda: len(deployment.rows(fine)) == 5, 5)
    assert look(deployment.front, other)["prediction"] is None
    assert "does not have the expected form" in look(deployment.front, other)["error"]
    wait_until(lambda: redis.xlen("asynchronous:undelivered") == 2, 40)  # three tries, 10 s apart
    letters: Any = redis.xrange("asynchronous:undelivered")
    errors = {fields[b"job_id"].decode(): fields[b"error"].decode() for _, fields in letters}
    assert "does not have the expected form" in errors[other]
    assert "so it is" in errors[rejected]
    assert delivery.metric("results_rejected_total") == 2
    assert f"result of job {rejected}: not delivered after 3 tries" in delivery.log.read_text()
    assert redis.xlen("asynchronous:finished") == 0


def test_each_job_is_in_the_database_once(deployment: DeliveryDeployment) -> None:
    ids = hand_in_all(deployment.front, [SEVEN_JSON] * 20)
    bad = hand_in(deployment.front, poisoned())
    jobs = {job["job_id"]: job for job in done(deployment.front, *ids)}
    error = ended(deployment.front, bad)["error"]
    wait_until(lambda: len(deployment.rows([*ids, bad])) == 21)
    assert deployment.rows([*ids, bad]) == dict.fromkeys(ids, ("done", 7)) | {bad: ("failed", None)}
    with closing(sqlite3.connect(deployment.database)) as connection:
        found = "SELECT prediction, error, confidence FROM results WHERE job_id = ?"
        prediction, _, confidence = connection.execute(found, [ids[0]]).fetchone()
        assert connection.execute(found, [bad]).fetchone() == (None, error, None)
    assert json.loads(prediction) == jobs[ids[0]]["prediction"]
    assert confidence == jobs[ids[0]]["prediction"]["confidence"]


@full
def test_each_job_is_in_the_database_once_when_the_delivery_is_killed(deployment: DeliveryDeployment) -> None:
    ids = hand_in_all(deployment.front, [SEVEN_JSON] * 300)
    wait_until(lambda: deployment.rows(ids[:1]))
    killed(deployment.stack.servers["delivery"])
    ids += hand_in_all(deployment.front, [SEVEN_JSON] * 100)
    deployment.start_delivery()
    killed(deployment.stack.servers["delivery"])
    deployment.start_delivery()
    done(deployment.front, *ids)
    wait_until(lambda: len(deployment.rows(ids)) == len(ids))
    assert set(deployment.rows(ids).values()) == {("done", 7)}


@contextmanager
def good_model(deployment: DeliveryDeployment) -> Iterator[None]:
    """When the block has ended, all is read by another predictor, for as long as it takes what is open."""
    bad = deployment.stack.servers["predictor"]
    deployment.stack.stop("predictor")
    try:
        yield
        deployment.stack.start("predictor", max_attempts=1, **SHORT_LEASE)
        wait_until(lambda: deployment.stack.store().zcard("asynchronous:open") == 0)
        deployment.stack.stop("predictor")
    finally:
        assert bad.process.poll() is not None
        deployment.start_predictor()


@full
def test_the_database_has_the_newer_end_of_a_retried_dead_letter(deployment: DeliveryDeployment) -> None:
    job_id = hand_in(deployment.front, poisoned())
    assert ended(deployment.front, job_id)["status"] == "failed"
    wait_until(lambda: deployment.rows([job_id]) == {job_id: ("failed", None)})
    with good_model(deployment):
        assert retry(deployment.front, job_id).status_code == 202
    wait_until(lambda: deployment.rows([job_id]) == {job_id: ("done", 7)})


@full
def test_the_database_holds_only_ended_jobs(deployment: DeliveryDeployment) -> None:
    """Also where a dead letter is retried before its first end was stored."""
    deployment.stack.stop("delivery")
    job_id = hand_in(deployment.front, poisoned())
    assert ended(deployment.front, job_id)["status"] == "failed"
    with hung(deployment.stack.servers["predictor"]):
        assert retry(deployment.front, job_id).status_code == 202
        deployment.start_delivery()
        sleep(1)
        assert deployment.rows([job_id]) in ({}, {job_id: ("failed", None)})
    wait_until(lambda: deployment.rows([job_id]) == {job_id: ("failed", None)})


# Webhooks


def test_a_webhook_is_signed_as_standard_webhooks_defines(deployment: DeliveryDeployment, receiver: Receiver) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    job_id = hand_in(deployment.front, headers=headers, callback_url=receiver.expecting("/hook?a=b"))
    got = receiver.next()
    message = got.verified()
    assert (got.path, message["type"], got.headers["content-type"]) == ("/hook?a=b", "job.done", "application/json")
    assert got.headers["host"] == urlsplit(receiver.url).netloc
    (line,) = deployment.stack.servers["delivery"].logged(message=f"webhook of job {job_id}: attempt 1: delivered")
    assert line["trace_id"] == got.headers["traceparent"].split("-")[1] == trace
    assert message["data"] == look(deployment.front, job_id)
    assert SECRET.encode() not in got.body
    for changed in (got.body + b" ", got.body.replace(b"7", b"1")):
        with pytest.raises(Exception, match="signature"):
            Webhook(SECRET).verify(changed, got.headers)
    receiver.nothing_more(0.5)


def test_failed_and_cancelled_jobs_are_delivered(deployment: DeliveryDeployment, receiver: Receiver) -> None:
    bad = hand_in(deployment.front, poisoned(), callback_url=receiver.expecting("/bad"))
    message = receiver.next().verified()
    assert (message["type"], message["data"]["job_id"], message["data"]["prediction"]) == ("job.failed", bad, None)
    with hung(deployment.stack.servers["predictor"]):
        off = hand_in(deployment.front, callback_url=receiver.expecting("/off"))
        deployment.front.client.delete(f"/jobs/{off}")
        assert "cancelled" in receiver.next().job["error"]


@full
def test_a_webhook_is_retried_with_the_same_id_and_then_dropped_when_its_receiver_fails_redirects_or_hangs(
    deployment: DeliveryDeployment, receiver: Receiver
) -> None:
    """Later each time. Redirects are not followed."""
    statuses = {"/one": [500, 302, 307, 500], "/two": [0, 503, 204], "/three": [404, 204]}
    for path, some in statuses.items():
        hand_in(deployment.front, callback_url=receiver.expecting(path, *some))
    got = sorted([receiver.next() for _ in range(3 + 3 + 2)])
    by_path = {path: [one for one in got if one.path == path] for path in statuses}
    assert [len(same) for same in by_path.values()] == [3, 3, 2]
    for same in by_path.values():
        assert len({one.message_id for one in same}) == 1
        assert len({json.dumps(one.verified()) for one in same}) == 1
        for wait, (before, after) in zip((1, 2), pairwise(same), strict=False):
            assert after.at - before.at > wait - 0.1
    redis = deployment.stack.store()
    wait_until(lambda: redis.zcard("asynchronous:receivers") == 0, 3)  # nothing more is due


@full
def test_a_webhook_is_retried_when_its_receiver_refuses_the_connection(
    deployment: DeliveryDeployment, receiver: Receiver
) -> None:
    with Link(urlsplit(receiver.url).port or 0).running() as link:
        link.set(faults.REFUSE)
        job_id = hand_in(deployment.front, callback_url=f"http://127.0.0.1:{link.port}/hook")
        wait_until(lambda: tried(deployment, job_id))
        link.set(faults.PASS)
        assert receiver.next().job["job_id"] == job_id


def tried(deployment: DeliveryDeployment, job_id: str) -> bool:
    return bool(deployment.stack.store().hget(f"asynchronous:job:{job_id}", "delivery_attempts"))


@full
def test_the_status_is_enough_when_the_response_of_a_receiver_never_ends(
    deployment: DeliveryDeployment, receiver: Receiver
) -> None:
    receiver.slowly.add("/slow")
    job_id = hand_in(deployment.front, callback_url=receiver.expecting("/slow"))
    first = receiver.next()
    assert first.job["job_id"] == job_id
    redis = deployment.stack.store()
    wait_until(lambda: redis.zscore(f"asynchronous:webhooks:{urlsplit(receiver.url).netloc}", job_id) is None, 5)
    assert receiver.got.empty()
    lines = deployment.stack.servers["delivery"].log_lines()
    assert [line for line in lines if line["level"] == "ERROR"] == []


@full
def test_a_retried_dead_letter_is_delivered_again_with_all_its_attempts(
    deployment: DeliveryDeployment, receiver: Receiver
) -> None:
    url = receiver.expecting("/hook", *[500] * ATTEMPTS)
    job_id = hand_in(deployment.front, poisoned(), callback_url=url)
    ids = {receiver.next().message_id for _ in range(ATTEMPTS)}
    assert len(ids) == 1
    receiver.expecting("/hook", *[500] * (ATTEMPTS - 1))
    assert retry(deployment.front, job_id).status_code == 202
    more = {receiver.next().message_id for _ in range(ATTEMPTS)}
    assert len(more) == 1
    assert not more & ids


@full
def test_a_second_end_is_delivered_when_it_comes_during_the_first_delivery(
    deployment: DeliveryDeployment, receiver: Receiver
) -> None:
    job_id = hand_in(deployment.front, poisoned(), callback_url=receiver.expecting("/hook", 0))
    first = receiver.next()
    assert retry(deployment.front, job_id).status_code == 202
    sleep(0.15)
    receiver.over.set()
    assert ended(deployment.front, job_id)["status"] == "failed"
    assert receiver.next().message_id != first.message_id


@full
def test_webhooks_are_sent_only_for_ended_jobs(deployment: DeliveryDeployment, receiver: Receiver) -> None:
    """Also where a dead letter is retried before its webhook was taken."""
    job_id = hand_in(deployment.front, poisoned(), callback_url=receiver.expecting("/hook", 500))
    assert receiver.next().verified()["type"] == "job.failed"
    with hung(deployment.stack.servers["predictor"]):
        assert retry(deployment.front, job_id).status_code == 202
        receiver.nothing_more(2)
    assert receiver.next().verified()["type"] == "job.failed"


@full
def test_a_webhook_is_delivered_when_the_delivery_is_killed(deployment: DeliveryDeployment, receiver: Receiver) -> None:
    hand_in(deployment.front, callback_url=receiver.expecting("/hook", 0))
    first = receiver.next()
    killed(deployment.stack.servers["delivery"])
    receiver.over.set()
    deployment.start_delivery()
    assert receiver.next().message_id == first.message_id


@full
def test_a_webhook_waits_for_a_delivery_that_can_sign_it(deployment: DeliveryDeployment, receiver: Receiver) -> None:
    deployment.stack.stop("delivery")
    server = deployment.start_delivery(webhook_secret="")
    job_id = hand_in(deployment.front, callback_url=receiver.expecting("/hook"))
    wait_until(lambda: deployment.rows([job_id]))
    receiver.nothing_more(1)
    assert [line["message"][:17] for line in server.logged(level="WARNING")] == ["no WEBHOOK_SECRET"]
    deployment.stack.stop("delivery")
    deployment.start_delivery()
    assert receiver.next().job["job_id"] == job_id


@full
def test_the_delivery_sends_nothing_to_addresses_inside_the_network(
    deployment: DeliveryDeployment, receiver: Receiver
) -> None:
    """Where the name led elsewhere when the job was handed in, or a proxy allows what the delivery does not."""
    deployment.stack.stop("delivery")
    server = deployment.start_delivery(webhook_allow_private=False)
    try:
        job_id = hand_in(deployment.front, callback_url=receiver.expecting("/hook"))
        wait_until(lambda: server.metric("webhooks_total", outcome="failed") == ATTEMPTS)
        receiver.nothing_more(0.1)
        assert f"webhook of job {job_id}: attempt 1: PrivateAddress" in server.log.read_text()
    finally:
        deployment.stack.stop("delivery")
        deployment.start_delivery()


@full
def test_a_host_that_hangs_delays_no_other(deployment: DeliveryDeployment, receiver: Receiver) -> None:
    with Receiver().listening() as hanging:
        url = hanging.expecting("/hangs", *[0] * 200)
        for _ in range(100):
            hand_in(deployment.front, callback_url=url)
        wait_until(lambda: not hanging.got.empty())
        for _ in range(10):
            job_id = hand_in(deployment.front, callback_url=receiver.expecting("/fine"))
            done(deployment.front, job_id)
            assert receiver.next(0.45).job["job_id"] == job_id
        hanging.over.set()
        redis = deployment.stack.store()
        wait_until(lambda: redis.zcard("asynchronous:receivers") == 0)
