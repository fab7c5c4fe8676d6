"""Jobs that all members read: their events, and when they are closed (H5, H7, H8).

svm and mlp take as long as a picture says, svm reads one at a time.
"""

from collections.abc import Iterator
from time import monotonic
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from common.training.data import held_out
from tests.support.horizontal.deployment import (
    RUN,
    Answer,
    LinkedDeployment,
    kept,
    missing,
    no_error_is_logged,
    picture,
)
from tests.support.horizontal.jobs import all_answered, events, look, rows, submit
from tests.support.models.onnx_models import slow_pixels
from tests.support.processes import free_port, wait_until
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server, is_ready
from tests.support.stack import MEMBERS

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def deployment(with_slow_members: LinkedDeployment) -> LinkedDeployment:
    return with_slow_members


@pytest.fixture(scope="module")
def hasty(deployment: LinkedDeployment) -> Iterator[Server]:
    """A proxy whose jobs have a second."""
    with deployment.another_proxy(job_deadline_seconds=1) as proxy:
        yield proxy


def differ() -> tuple[Answer, Any]:
    """A scan of which linear and mlp say different things, and the mean of their probabilities."""
    scans = held_out().features[held_out().features[:, 0] == 0]
    (linear, sure), (mlp, surer) = RUN["linear"](scans), RUN["mlp"](scans)
    row = int(np.flatnonzero(linear != mlp)[0])
    return picture(scans[row]), (sure[row] + surer[row]) / 2


def test_accepted_job_is_answered_once_by_every_member(deployment: LinkedDeployment) -> None:
    """A picture, or one that is kept."""
    system = deployment.stack
    before = {name: rows(system.servers[name]) for name in MEMBERS}
    answer = deployment.front.client.post("/jobs", json=SEVEN_JSON)
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
    for job in (answer.headers["location"], submit(deployment.front, kept(deployment.front, SEVEN_JSON))):
        closed, complete = look(deployment.front, job, wait=10), all_answered(deployment.front, job)
        assert (closed["status"], closed["prediction"]["digit"], closed["error"]) == ("done", 7, None)
        assert closed["prediction"]["model"]["name"] == "mean"
        assert {name: digit["digit"] for name, digit in complete["predictions"].items()} == dict.fromkeys(MEMBERS, 7)
        assert list(complete["predictions"]) == list(MEMBERS)
    assert {name: rows(system.servers[name]) - before[name] for name in MEMBERS} == dict.fromkeys(MEMBERS, 2)


def test_event_is_sent_as_soon_as_an_answer_is_there(deployment: LinkedDeployment) -> None:
    """H5: linear's long before the others'; with it the next action begins, while they are still at work."""
    job = submit(deployment.front, slow_pixels(0.7))
    began = monotonic()
    linear, early, slow, *_, aggregate = sent = list(events(deployment.front, job))
    assert linear.data["model"]["name"] == "linear"
    assert (early.name, early.data["model"], early.data["digit"]) == ("early", "linear", 7)
    assert early.at - began < 0.6
    assert slow.at - linear.at > 0.4
    assert {event.name for event in sent[2:-1]} == {"prediction"}
    assert (aggregate.name, aggregate.data["status"]) == ("aggregate", "done")
    all_answered(deployment.front, job)


def test_early_model_and_quorum_are_settings(deployment: LinkedDeployment) -> None:
    """H5, H7."""
    deployment.stack.stop("postprocessor")
    deployment.stack.start("postprocessor", early_model="svm", quorum=3)
    sent = list(events(deployment.front, submit(deployment.front, slow_pixels(0.3))))
    deployment.stack.stop("postprocessor")
    deployment.start("postprocessor")
    names = [event.name for event in sent]
    assert sorted(names[:-1]) == ["early", *["prediction"] * 3]
    assert sent[0].data["model"]["name"] == "linear"
    assert sent[names.index("early")].data["model"] == "svm"
    assert "svm" in [event.data["model"]["name"] for event in sent[1 : names.index("early")]]
    assert (names[-1], sent[-1].data["missing"]) == ("aggregate", [])


def test_events_of_a_closed_job_are_complete(deployment: LinkedDeployment) -> None:
    job = submit(deployment.front)
    all_answered(deployment.front, job)
    look(deployment.front, job, wait=10)
    wait_until(lambda: look(deployment.front, job)["early"])
    assert [event.name for event in events(deployment.front, job)] == [*["prediction"] * 3, "early", "aggregate"]


def test_job_is_closed_at_its_deadline_with_the_answers_so_far(deployment: LinkedDeployment, hasty: Server) -> None:
    """H7: the two who answered do not agree, and svm stands still; its late answer changes nothing."""
    body, mean = differ()
    with deployment.hung("svm"):
        began = monotonic()
        job = submit(hasty, body)
        sent = list(events(hasty, job))
        assert 0.9 < monotonic() - began < 3
    closed = sent[-1].data
    assert (sent[-1].name, closed["status"], missing(closed)) == ("aggregate", "done", {"svm": "timeout"})
    assert closed["prediction"]["digit"] == mean.argmax()
    np.testing.assert_allclose(closed["prediction"]["probabilities"], mean, atol=2e-5)
    complete = all_answered(hasty, job)
    assert complete | {"predictions": None} == closed | {"predictions": None}


def test_job_with_less_than_a_quorum_at_its_deadline_has_failed(deployment: LinkedDeployment, hasty: Server) -> None:
    with deployment.hung("svm", "mlp"):
        job = submit(hasty)
        sent = list(events(hasty, job))
    failed = sent[-1].data
    assert [event.name for event in sent] == ["prediction", "early", "failed"]
    assert (failed["status"], failed["prediction"]) == ("failed", None)
    assert failed["error"] == "1 of 3 models answered in time, expected at least 2"
    assert missing(failed) == {"svm": "timeout", "mlp": "timeout"}
    complete = all_answered(hasty, job)
    assert complete | {"predictions": None} == failed | {"predictions": None}


def test_two_processes_share_the_jobs_that_came_while_their_member_was_down(deployment: LinkedDeployment) -> None:
    """H8: no client waited; each job is read by one of the two, which begin at the same time."""
    system, settings, count = deployment.stack, deployment.settings["svm"] | {"lease_seconds": 10}, 30
    system.stop("svm")
    jobs = [submit(deployment.front, slow_pixels(0.1)) for _ in range(count)]
    closed = [look(deployment.front, job, wait=10) for job in jobs]
    assert {(job["status"], job["prediction"]["digit"]) for job in closed} == {("done", 7)}
    assert all("svm" not in job["predictions"] and missing(job)["svm"] == "late" for job in closed)
    with deployment.hung("redis"):
        second = system.launch("svm", **settings | {"microservice_horizontal_svm_port": free_port()})
        first = system.launch("svm", **settings)
        wait_until(lambda: is_ready(first) and is_ready(second))
    for job in jobs:
        assert all_answered(deployment.front, job)["predictions"]["svm"]["digit"] == 7
    read = {name: rows(server) for name, server in (("first", first), ("second", second))}
    for server in (first, second):
        server.process.terminate()
        server.process.wait(20)
    deployment.start("svm")
    wait_until(lambda: is_ready(system.servers["svm"]))
    print(read)
    assert sum(read.values()) == count
    assert min(read.values()) > 0


def test_log_lines_of_all_members_about_a_job_have_the_callers_trace(deployment: LinkedDeployment) -> None:
    trace = uuid4().hex
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = deployment.front.client.post("/jobs", json=SEVEN_JSON, headers=headers)
    for name in MEMBERS:
        (line,) = deployment.stack.servers[name].logged(message=f"job {answer.json()['job_id']}: answered")
        assert line["trace_id"] == trace


def test_no_service_has_logged_an_error_in_this_module(deployment: LinkedDeployment) -> None:
    no_error_is_logged(deployment)
