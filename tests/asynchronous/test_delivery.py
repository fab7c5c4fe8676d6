"""Results go to other places than the client: a database, and a webhook that is signed and tried again (A2)."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from time import sleep
from urllib.parse import urlsplit

import pytest
from standardwebhooks import Webhook

from tests.support import fault_proxy as faults
from tests.support.asynchronous_jobs import QUICK, SEVEN, done, ended, hand_in, hand_in_all, hung, killed, look, retry
from tests.support.fault_proxy import Link
from tests.support.processes import wait_until
from tests.support.service_process import poisoned
from tests.support.webhook_receiver import ATTEMPTS, SECRET, Office, Receiver, office_in

full = pytest.mark.full


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with office_in(tmp_path_factory.mktemp("delivery")) as office:
        yield office


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().listening() as receiver:
        yield receiver


# The result database


def test_each_job_is_in_the_database_once(office: Office) -> None:
    ids = hand_in_all(office.front, [SEVEN] * 20)
    bad = hand_in(office.front, poisoned())
    jobs = {job["job_id"]: job for job in done(office.front, *ids)}
    error = ended(office.front, bad)["error"]
    wait_until(lambda: len(office.rows([*ids, bad])) == 21)
    assert office.rows([*ids, bad]) == dict.fromkeys(ids, ("done", 7)) | {bad: ("failed", None)}
    with closing(sqlite3.connect(office.database)) as connection:
        found = "SELECT prediction, error, confidence FROM results WHERE job_id = ?"
        prediction, _, confidence = connection.execute(found, [ids[0]]).fetchone()
        assert connection.execute(found, [bad]).fetchone() == (None, error, None)
    assert json.loads(prediction) == jobs[ids[0]]["prediction"]
    assert confidence == jobs[ids[0]]["prediction"]["confidence"]


@full
def test_each_job_is_in_the_database_once_although_the_delivery_was_killed(office: Office) -> None:
    ids = hand_in_all(office.front, [SEVEN] * 300)
    wait_until(lambda: office.rows(ids[:1]))
    killed(office.these.servers["delivery"])
    ids += hand_in_all(office.front, [SEVEN] * 100)
    office.start_delivery()
    killed(office.these.servers["delivery"])
    office.start_delivery()
    done(office.front, *ids)
    wait_until(lambda: len(office.rows(ids)) == len(ids))
    assert set(office.rows(ids).values()) == {("done", 7)}


@contextmanager
def good_model(office: Office) -> Iterator[None]:
    """When the block has ended, all is read by another predictor, for as long as it takes what is open."""
    bad = office.these.servers["predictor"]
    office.these.stop("predictor")
    try:
        yield
        office.these.start("predictor", max_attempts=1, **QUICK)
        wait_until(lambda: office.these.store().zcard("asynchronous:open") == 0)
        office.these.stop("predictor")
    finally:
        assert bad.process.poll() is not None
        office.start_predictor()


@full
def test_of_a_retried_dead_letter_the_database_has_the_newer_end(office: Office) -> None:
    job_id = hand_in(office.front, poisoned())
    assert ended(office.front, job_id)["status"] == "failed"
    wait_until(lambda: office.rows([job_id]) == {job_id: ("failed", None)})
    with good_model(office):
        assert retry(office.front, job_id).status_code == 202
    wait_until(lambda: office.rows([job_id]) == {job_id: ("done", 7)})


@full
def test_what_is_in_the_database_has_ended(office: Office) -> None:
    """Also where a dead letter is retried before its first end was stored."""
    office.these.stop("delivery")
    job_id = hand_in(office.front, poisoned())
    assert ended(office.front, job_id)["status"] == "failed"
    with hung(office.these.servers["predictor"]):
        assert retry(office.front, job_id).status_code == 202
        office.start_delivery()
        sleep(1)
        assert office.rows([job_id]) in ({}, {job_id: ("failed", None)})
    wait_until(lambda: office.rows([job_id]) == {job_id: ("failed", None)})


# Webhooks


def test_a_result_is_delivered_signed_as_standard_webhooks_has_it(office: Office, receiver: Receiver) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    job_id = hand_in(office.front, headers=headers, callback_url=receiver.expecting("/hook?a=b"))
    got = receiver.next()
    message = got.verified()
    assert (got.path, message["type"], got.headers["content-type"]) == ("/hook?a=b", "job.done", "application/json")
    assert got.headers["host"] == urlsplit(receiver.url).netloc
    (line,) = office.these.servers["delivery"].logged(message=f"webhook of job {job_id}: attempt 1: delivered")
    assert line["trace_id"] == got.headers["traceparent"].split("-")[1] == trace
    assert message["data"] == look(office.front, job_id)
    assert SECRET.encode() not in got.body
    for changed in (got.body + b" ", got.body.replace(b"7", b"1")):
        with pytest.raises(Exception, match="signature"):
            Webhook(SECRET).verify(changed, got.headers)
    receiver.nothing_more(0.5)


def test_a_job_that_failed_or_was_called_off_is_delivered_too(office: Office, receiver: Receiver) -> None:
    bad = hand_in(office.front, poisoned(), callback_url=receiver.expecting("/bad"))
    message = receiver.next().verified()
    assert (message["type"], message["data"]["job_id"], message["data"]["prediction"]) == ("job.failed", bad, None)
    with hung(office.these.servers["predictor"]):
        off = hand_in(office.front, callback_url=receiver.expecting("/off"))
        office.front.client.delete(f"/jobs/{off}")
        assert "called off" in receiver.next().job["error"]


@full
def test_a_receiver_that_fails_redirects_or_hangs_is_tried_again_with_the_same_id_and_then_given_up(
    office: Office, receiver: Receiver
) -> None:
    """Later each time. Whoever is redirected to is not asked."""
    statuses = {"/one": [500, 302, 307, 500], "/two": [0, 503, 204], "/three": [404, 204]}
    for path, some in statuses.items():
        hand_in(office.front, callback_url=receiver.expecting(path, *some))
    got = sorted([receiver.next() for _ in range(3 + 3 + 2)])
    by_path = {path: [one for one in got if one.path == path] for path in statuses}
    assert [len(these) for these in by_path.values()] == [3, 3, 2]
    for these in by_path.values():
        assert len({one.message_id for one in these}) == 1
        assert len({json.dumps(one.verified()) for one in these}) == 1
        for wait, (before, after) in zip((1, 2), pairwise(these), strict=False):
            assert after.at - before.at > wait - 0.1
    redis = office.these.store()
    wait_until(lambda: redis.zcard("asynchronous:webhooks") == 0, 3)  # nothing more is due


@full
def test_a_receiver_that_refuses_is_tried_again(office: Office, receiver: Receiver) -> None:
    with Link(urlsplit(receiver.url).port or 0).running() as link:
        link.set(faults.REFUSE)
        job_id = hand_in(office.front, callback_url=f"http://127.0.0.1:{link.port}/hook")
        wait_until(lambda: tried(office, job_id))
        link.set(faults.PASS)
        assert receiver.next().job["job_id"] == job_id


def tried(office: Office, job_id: str) -> bool:
    return bool(office.these.store().hget(f"asynchronous:job:{job_id}", "delivery_attempts"))


@full
def test_of_a_receiver_whose_answer_never_ends_the_status_is_enough(office: Office, receiver: Receiver) -> None:
    receiver.slowly.add("/slow")
    job_id = hand_in(office.front, callback_url=receiver.expecting("/slow"))
    first = receiver.next()
    assert first.job["job_id"] == job_id
    redis = office.these.store()
    wait_until(lambda: redis.zscore("asynchronous:webhooks", job_id) is None, 5)
    assert receiver.got.empty()
    lines = office.these.servers["delivery"].log_lines()
    assert [line for line in lines if line["level"] == "ERROR"] == []


@full
def test_a_retried_dead_letter_is_delivered_once_more_with_all_its_attempts(office: Office, receiver: Receiver) -> None:
    url = receiver.expecting("/hook", *[500] * ATTEMPTS)
    job_id = hand_in(office.front, poisoned(), callback_url=url)
    ids = {receiver.next().message_id for _ in range(ATTEMPTS)}
    assert len(ids) == 1
    receiver.expecting("/hook", *[500] * (ATTEMPTS - 1))
    assert retry(office.front, job_id).status_code == 202
    more = {receiver.next().message_id for _ in range(ATTEMPTS)}
    assert len(more) == 1
    assert not more & ids


@full
def test_an_end_that_comes_while_the_one_before_is_delivered_is_delivered_too(
    office: Office, receiver: Receiver
) -> None:
    job_id = hand_in(office.front, poisoned(), callback_url=receiver.expecting("/hook", 0))
    first = receiver.next()
    assert retry(office.front, job_id).status_code == 202
    sleep(0.15)
    receiver.over.set()
    assert ended(office.front, job_id)["status"] == "failed"
    assert receiver.next().message_id != first.message_id


@full
def test_what_is_delivered_has_ended(office: Office, receiver: Receiver) -> None:
    """Also where a dead letter is retried before its webhook was taken."""
    job_id = hand_in(office.front, poisoned(), callback_url=receiver.expecting("/hook", 500))
    assert receiver.next().verified()["type"] == "job.failed"
    with hung(office.these.servers["predictor"]):
        assert retry(office.front, job_id).status_code == 202
        receiver.nothing_more(2)
    assert receiver.next().verified()["type"] == "job.failed"


@full
def test_a_webhook_is_delivered_although_the_delivery_was_killed(office: Office, receiver: Receiver) -> None:
    hand_in(office.front, callback_url=receiver.expecting("/hook", 0))
    first = receiver.next()
    killed(office.these.servers["delivery"])
    receiver.over.set()
    office.start_delivery()
    assert receiver.next().message_id == first.message_id


@full
def test_a_webhook_waits_for_a_delivery_that_can_sign_it(office: Office, receiver: Receiver) -> None:
    office.these.stop("delivery")
    server = office.start_delivery(webhook_secret="")
    job_id = hand_in(office.front, callback_url=receiver.expecting("/hook"))
    wait_until(lambda: office.rows([job_id]))
    receiver.nothing_more(1)
    assert [line["message"][:17] for line in server.logged(level="WARNING")] == ["no WEBHOOK_SECRET"]
    office.these.stop("delivery")
    office.start_delivery()
    assert receiver.next().job["job_id"] == job_id


@full
def test_the_delivery_itself_asks_nobody_inside_the_network(office: Office, receiver: Receiver) -> None:
    """Where the name led elsewhere when the job was handed in, or a proxy allows what the delivery does not."""
    office.these.stop("delivery")
    server = office.start_delivery(webhook_allow_private=False)
    try:
        job_id = hand_in(office.front, callback_url=receiver.expecting("/hook"))
        wait_until(lambda: server.metric("webhooks_total", outcome="failed") == ATTEMPTS)
        receiver.nothing_more(0.1)
        assert f"webhook of job {job_id}: attempt 1: PrivateAddress" in server.log.read_text()
    finally:
        office.these.stop("delivery")
        office.start_delivery()
