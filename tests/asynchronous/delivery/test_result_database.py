"""Results go to a database (A2): each job once, whatever is killed, and a row that it rejects stops no other."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from pydantic_core import to_json

from asynchronous.delivery.results import COLUMNS, ResultDatabase
from asynchronous.schemas import to_job
from common import domain
from tests.support.models.onnx_models import poisoned
from tests.support.processes import wait_until
from tests.support.queue.jobs import SHORT_LEASE, done, ended, hand_in, hand_in_all, hung, killed, look, retry
from tests.support.queue.webhook_receiver import DeliveryDeployment
from tests.support.samples import SEVEN_JSON

full = pytest.mark.full
MODEL = {"name": "mlp", "version": "1"}


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


def test_a_database_that_another_domain_wrote_gets_a_column_for_the_label(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    old = {name: kind for name, kind in COLUMNS.items() if name != domain.LABEL} | {"species": "TEXT"}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE results ({', '.join(' '.join(column) for column in old.items())})")
    prediction = to_json({"digit": 7, "confidence": 0.98, "probabilities": [0.1] * 10, "model": MODEL})
    fields = {b"status": b"done", b"submitted_at": b"1", b"finished_at": b"2", b"prediction": prediction}
    job = to_job("one", fields)
    assert job.error is None
    for _ in range(2):  # also when the file is opened again
        database = ResultDatabase(path)
        with database.keep_open():
            assert database.upsert([job]) == {}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT job_id, digit, confidence, species FROM results").fetchall() == [
            ("one", 7, 0.98, None)
        ]
