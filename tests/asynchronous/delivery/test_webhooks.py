"""Results go to webhooks (A2): signed, tried again, and each host on its own."""

import json
import ssl
from itertools import pairwise
from pathlib import Path
from time import sleep
from unittest.mock import ANY
from urllib.parse import urlsplit

import pytest
import trustme
from standardwebhooks import Webhook

from tests.support.http import fault_proxy as faults
from tests.support.http.fault_proxy import Link
from tests.support.models.onnx_models import poisoned
from tests.support.processes import wait_until
from tests.support.queue.jobs import done, ended, hand_in, hung, killed, look, retry
from tests.support.queue.webhook_receiver import ATTEMPTS, SECRET, DeliveryDeployment, Receiver

full = pytest.mark.full


def test_a_webhook_is_signed_as_standard_webhooks_defines(deployment: DeliveryDeployment, receiver: Receiver) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    job_id = hand_in(deployment.front, headers=headers, callback_url=receiver.expecting("/hook?a=b"))
    got = receiver.next()
    message = got.verified()
    assert (got.path, message["type"], got.headers["content-type"]) == ("/hook?a=b", "job.done", "application/json")
    assert got.headers["host"] == urlsplit(receiver.url).netloc
    delivery = deployment.stack.servers["delivery"]
    (line,) = delivery.logged(message=f"webhook of job {job_id}: attempt 1: delivered")
    assert line["trace_id"] == got.headers["traceparent"].split("-")[1] == trace
    assert message["data"] | {"delivered": ANY} == look(deployment.front, job_id)
    assert SECRET.encode() not in got.body
    assert "a=b" not in delivery.log.read_text()  # what is in a URL may be a secret
    for changed in (got.body + b" ", got.body.replace(b"7", b"1")):
        with pytest.raises(Exception, match="signature"):
            Webhook(SECRET).verify(changed, got.headers)
    receiver.nothing_more(0.5)


@full
def test_a_job_says_when_the_database_and_the_receiver_had_its_result(
    deployment: DeliveryDeployment, receiver: Receiver
) -> None:
    """A receiver that refuses has nothing; a dead letter that is retried is nowhere yet."""
    plain = hand_in(deployment.front)
    job_id = hand_in(deployment.front, poisoned(), callback_url=receiver.expecting("/hook", *[500] * ATTEMPTS))
    for _ in range(ATTEMPTS):
        receiver.next()
    wait_until(lambda: look(deployment.front, job_id)["delivered"]["database"])
    refused = look(deployment.front, job_id)
    assert list(refused["delivered"]) == ["database", "webhook"]
    assert refused["delivered"]["webhook"] is None
    assert refused["finished_at"] <= refused["delivered"]["database"]
    with hung(deployment.stack.servers["predictor"]):
        retry(deployment.front, job_id)
        assert set(look(deployment.front, job_id)["delivered"].values()) == {None}
    receiver.next()
    wait_until(lambda: all(look(deployment.front, job_id)["delivered"].values()))
    assert list(look(deployment.front, plain)["delivered"]) == ["database"]


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
    """Where the name led elsewhere when the job was submitted, or a proxy allows what the delivery does not."""
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
def test_a_webhook_is_delivered_to_a_receiver_whose_ca_is_in_ssl_cert_file(
    deployment: DeliveryDeployment, receiver: Receiver, tmp_path: Path
) -> None:
    """And to no other: before the CA is trusted, each attempt fails."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with Receiver().listening(tls) as private:
        job_id = hand_in(deployment.front, callback_url=private.expecting("/hook"))
        wait_until(lambda: tried(deployment, job_id))
        assert private.got.empty()
        deployment.stack.stop("delivery")
        deployment.start_delivery(ssl_cert_file=tmp_path / "ca.pem")
        assert private.next().job["job_id"] == job_id
        hand_in(deployment.front, callback_url=receiver.expecting("/hook"))
        receiver.next()
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
