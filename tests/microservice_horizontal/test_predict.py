"""The horizontal pattern as its callers see it: three readers are asked at once and vote (H1-H5, H7).

The proxy asks each over a link that can fail; svm is a reader that takes as long as a picture says.
"""

from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from uuid import uuid4

import numpy as np
import pytest

from common.training.data import held_out
from tests.support.horizontal.deployment import (
    RUN,
    LinkedDeployment,
    all_vote,
    ask,
    kept,
    missing,
    picture,
    spent_ms,
    unanimous,
)
from tests.support.horizontal.jobs import all_answered, events, look, submit
from tests.support.http.fault_proxy import SWALLOW, Fault
from tests.support.models.onnx_models import slow_pixels
from tests.support.processes import wait_until
from tests.support.samples import SAMPLES, SEVEN_JSON
from tests.support.stack import MEMBERS

full = pytest.mark.full


@pytest.fixture(scope="module")
def deployment(with_slow_svm: LinkedDeployment) -> LinkedDeployment:
    return with_slow_svm


# One request


def test_answer_has_the_digit_the_votes_and_the_missing_members(deployment: LinkedDeployment) -> None:
    """H1, H2."""
    answer = ask(deployment.front).json()
    assert answer.keys() == {"digit", "confidence", "probabilities", "model", "predictions", "missing"}
    assert (answer["digit"], answer["missing"], answer["model"]["name"]) == (7, [], "mean")
    assert answer["confidence"] == max(answer["probabilities"]) == answer["probabilities"][7]
    assert list(answer["predictions"]) == list(MEMBERS)
    for name, digit in answer["predictions"].items():
        assert (digit["digit"], digit["model"]["name"]) == (7, name)
    votes = [digit["probabilities"] for digit in answer["predictions"].values()]
    np.testing.assert_allclose(answer["probabilities"], np.mean(votes, axis=0), atol=2e-6)


def test_png_is_read(deployment: LinkedDeployment) -> None:
    assert deployment.front.read((SAMPLES / "two.png").read_bytes()).json()["digit"] == 2


def test_members_are_called_at_the_same_time(deployment: LinkedDeployment) -> None:
    """H1: each answer takes 0.3 s on its way; the whole takes less than two of them."""
    with deployment.during(Fault(delay_seconds=0.15), *MEMBERS):
        began = monotonic()
        answer = ask(deployment.front)
        assert monotonic() - began < 0.6
    assert all(300 < spent_ms(answer)[name] < 600 for name in (*MEMBERS, "total"))
    assert not answer.json()["missing"]


def test_answer_of_one_model_is_its_own(deployment: LinkedDeployment) -> None:
    """H2."""
    together = ask(deployment.front).json()["predictions"]
    for name in MEMBERS:
        alone = ask(deployment.front, path=f"/predict/{name}").json()
        assert alone == deployment.stack.servers[name].read(SEVEN_JSON).json() == together[name]


def test_unknown_model_is_a_404_that_names_the_models(deployment: LinkedDeployment) -> None:
    answer = ask(deployment.front, path="/predict/specialist")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "one of linear, svm, mlp" in answer.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [{"policy": "hope"}, {"quorum": 0}, {"quorum": 4}, {"quorum": "two"}, {"aggregation": "median"}, {"more": 1}],
    ids=repr,
)
def test_invalid_query_is_a_422(deployment: LinkedDeployment, query: dict[str, object]) -> None:
    answer = ask(deployment.front, **query)  # type: ignore[arg-type]
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"query {next(iter(query))}: ")


def test_caller_can_choose_the_aggregation(deployment: LinkedDeployment) -> None:
    """H2."""
    for how in ("majority", "mean", "weighted"):
        answer = ask(deployment.front, aggregation=how).json()
        assert (answer["digit"], answer["model"]["name"]) == (7, how)
    answer = ask(deployment.front, aggregation="none").json()
    assert [answer[name] for name in ("digit", "confidence", "probabilities", "model")] == [None] * 4
    assert len(answer["predictions"]) == 3


def test_id_is_read_like_its_picture_and_an_unknown_id_is_a_404(deployment: LinkedDeployment) -> None:
    """H4."""
    assert ask(deployment.front, kept(deployment.front, SEVEN_JSON)).json() == ask(deployment.front).json()
    assert ask(deployment.front, {"image_id": str(uuid4())}).status_code == 404


@full
def test_hundreds_of_scans_match_the_models(deployment: LinkedDeployment) -> None:
    """From many connections: each caller gets the votes on its own picture."""
    scans = held_out().features[held_out().features[:, 0] == 0]  # on others svm would take its time
    answers = [response.json() for response in deployment.front.read_all([picture(scan) for scan in scans], 16)]
    for name, run in (RUN | {"svm": RUN["mlp"]}).items():
        votes = np.array([answer["predictions"][name]["probabilities"] for answer in answers])
        np.testing.assert_allclose(votes, run(scans)[1], atol=2e-5)
    assert not any(answer["missing"] for answer in answers)


@full
def test_one_trace_runs_through_the_logs_of_all_services(deployment: LinkedDeployment) -> None:
    trace = uuid4().hex
    answer = deployment.front.read(SEVEN_JSON, traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    assert answer.headers["traceparent"].split("-")[1] == trace
    for name in MEMBERS:
        (line,) = deployment.stack.servers[name].logged(trace_id=trace)
        assert line["path"] == f"/v2/models/{name}/infer"
    assert len(deployment.front.logged(trace_id=trace)) == 1


# One member hangs


@pytest.mark.parametrize("requests", [pytest.param(40, id="quick"), pytest.param(500, id="full", marks=full)])
def test_every_request_gets_two_votes_by_its_deadline_with_one_of_three_members_hung(
    deployment: LinkedDeployment, requests: int
) -> None:
    """H6, H8: and after its return three vote within seconds."""
    with ThreadPoolExecutor(16) as threads:
        with deployment.during(SWALLOW, "mlp"):
            calls = [threads.submit(ask, deployment.front, SEVEN_JSON, 400) for _ in range(requests)]
            answers = [call.result() for call in calls]
        back = monotonic()
        all_vote(deployment.front)
    assert {answer.status_code for answer in answers} == {200}
    reasons = [missing(answer.json()) for answer in answers]
    assert all(reason.keys() == {"mlp"} for reason in reasons)
    assert {reason["mlp"] for reason in reasons} == {"timeout", "breaker open"}
    assert {answer.json()["digit"] for answer in answers} == {7}
    print(f"three votes {monotonic() - back:.2f} s after its return")


@pytest.mark.parametrize(
    ("policy", "status", "reason"),
    [("wait", 504, ""), ("deadline", 200, "timeout"), ("quorum", 200, "not awaited"), ("first", 200, "not awaited")],
)
def test_policy_decides_what_a_hung_member_costs(
    deployment: LinkedDeployment, policy: str, status: int, reason: str
) -> None:
    """H6; more in test_policies.py."""
    with deployment.during(SWALLOW, "mlp"):
        answer = ask(deployment.front, deadline_ms=300, policy=policy)
    assert answer.status_code == status
    if status == 200:
        assert missing(answer.json())["mlp"] == reason
    else:
        assert answer.json()["detail"].startswith("mlp: timeout")


# Jobs


def test_job_sends_events_and_is_closed_without_the_slow_member(deployment: LinkedDeployment) -> None:
    """H5, H7: the next action begins on linear's answer; two agree, and svm is late, which changes nothing."""
    job = submit(deployment.front, slow_pixels(0.6))
    began = monotonic()
    sent = list(events(deployment.front, job))
    names = [event.name for event in sent]
    assert sorted(names[:-1]) == ["early", "prediction", "prediction"]
    assert names[-1] == "aggregate"
    by_linear = [event.data.get("model", {}) for event in sent[: names.index("early")]]
    assert "linear" in [model["name"] for model in by_linear]
    early = sent[names.index("early")].data
    assert (early["model"], early["digit"], early["action"]) == ("linear", 7, "tray 7 is called in")
    closed = sent[-1].data
    assert sent[-1].at - began < 0.6
    assert (closed["status"], closed["prediction"]["digit"]) == ("done", 7)
    assert (closed["predictions"].keys(), missing(closed)) == ({"linear", "mlp"}, {"svm": "late"})
    complete = all_answered(deployment.front, job)
    assert complete["predictions"]["svm"]["digit"] == 7
    assert complete | {"predictions": None} == closed | {"predictions": None}


def test_work_of_a_killed_member_and_post_processor_is_done_when_they_are_back(
    deployment: LinkedDeployment,
) -> None:
    """H7, H8: each job is closed once, with the right digit, and has one answer of each member."""
    front = deployment.front
    slow = submit(front, slow_pixels(0.5))
    wait_until(lambda: len(look(front, slow)["predictions"]) == 2)
    deployment.kill("svm", "postprocessor")
    scans, labels = unanimous()
    scans, labels = scans[scans[:, 0] == 0][:10], labels[scans[:, 0] == 0][:10]
    jobs = [submit(front, picture(scan)) for scan in scans]
    wait_until(lambda: all(len(look(front, job)["predictions"]) == 2 for job in jobs))
    assert look(front, jobs[0])["status"] == "running"
    deployment.start("postprocessor", "svm")
    closed = [look(front, job, wait=15) for job in jobs]
    assert [(job["status"], job["prediction"]["digit"]) for job in closed] == [("done", label) for label in labels]
    complete = [all_answered(front, job) for job in (slow, *jobs)]
    assert [job["early"]["digit"] for job in complete] == [7, *labels]
    assert [job["finished_at"] for job in complete[1:]] == [job["finished_at"] for job in closed]
    with deployment.stack.store() as store:
        wait_until(lambda: store.xlen("microservice_horizontal:jobs") == 0)
        assert store.zcard("microservice_horizontal:deadlines") == 0
