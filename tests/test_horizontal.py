"""The horizontal pattern as its callers see it: three readers are asked at once and vote (H1-H5, H7).

The proxy asks each over a link that can fail; svm is a reader that takes as long as a picture says.
"""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import pytest

from common.training.data import Features, Rows, held_out
from common.training.measure import runner
from tests.faults import PASS, SWALLOW, Fault, Link
from tests.processes import wait_until
from tests.servers import MLP, SAMPLES, SEVEN_PIXELS, Server, serving, slow_pixels, slow_reader
from tests.systems import MEMBERS, System, horizontal, member_urls

RUN = {name: runner(MLP.with_name(f"{name}.onnx").read_bytes()) for name in MEMBERS}
SEVEN = {"pixels": SEVEN_PIXELS}
SLACK_SECONDS = 0.3
BACK_SECONDS = 10.0
full = pytest.mark.full
Answer = dict[str, Any]


class Office(NamedTuple):
    """The pattern, and the links over which its proxy asks the members."""

    these: System
    links: dict[str, Link]
    settings: dict[str, dict[str, object]]
    """With which each process was started, so that it can be again."""

    @property
    def front(self) -> Server:
        return self.these.front

    def kill(self, *names: str) -> None:
        """SIGKILL."""
        for name in names:
            self.these.servers[name].process.kill()
            self.these.servers[name].process.wait(10)

    def start(self, *names: str) -> None:
        """Again, as it was."""
        for name in names:
            self.these.launch(name, **self.settings.get(name, {}))

    @contextmanager
    def hung(self, *names: str) -> Iterator[None]:
        """These processes stand still as long as the block."""
        for name in names:
            self.these.servers[name].process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for name in names:
                self.these.servers[name].process.send_signal(signal.SIGCONT)

    def another_proxy(self, **settings: object) -> AbstractContextManager[Server]:
        """One more proxy before the same members, asked over the same links, with settings of its own."""
        members = member_urls({name: link.port for name, link in self.links.items()})
        redis_url = f"redis://127.0.0.1:{self.these.port('redis')}/0"
        return serving(
            "microservice_horizontal.proxy:create_app", **({"members": members, "redis_url": redis_url} | settings)
        )

    @contextmanager
    def during(self, fault: Fault, *names: str, proxy: Server | None = None) -> Iterator[None]:
        """The links to these members have this fault as long as the block; then all vote again by themselves."""
        for name in names:
            self.links[name].set(fault)
        try:
            yield
        finally:
            for name in names:
                self.links[name].set(PASS)
        all_vote(proxy or self.front)


@contextmanager
def office(services: dict[str, dict[str, object]] | None = None, **proxy: object) -> Iterator[Office]:
    """The same, ready; settings of each service by its name, and of the proxy."""
    links: dict[str, Link] = {}
    proxy = {"breaker_open_seconds": 0.3} | proxy
    with horizontal(services, links, **proxy) as these:
        members = member_urls({name: link.port for name, link in links.items()})
        yield Office(these, links, (services or {}) | {these.front_name: {"members": members} | proxy})


def slow_svm(folder: Path) -> dict[str, dict[str, object]]:
    """The settings of a member svm that looks at a picture as long as it says."""
    return {"svm": {"svm_model_uri": slow_reader(folder / "svm.onnx"), "lease_seconds": 1}}


@pytest.fixture(scope="module")
def these(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with office(slow_svm(tmp_path_factory.mktemp("slow"))) as these:
        yield these


# Asking, and what an answer is


def ask(proxy: Server, body: object = SEVEN, deadline_ms: int = 2_000, path: str = "/predict", **query: object) -> Any:
    """The answer to a picture; it must be there by the deadline."""
    headers, began = {"X-Request-Timeout-Ms": str(deadline_ms)}, monotonic()
    answer = proxy.client.post(path, json=body, headers=headers, params={n: str(v) for n, v in query.items()})
    assert monotonic() - began < deadline_ms / 1e3 + SLACK_SECONDS
    return answer


def missing(answer: Answer) -> dict[str, str]:
    """Who gave no answer, and why."""
    return {one["model"]: one["reason"] for one in answer["missing"]}


def all_vote(proxy: Server) -> None:
    """All three answer again, within seconds."""

    def vote() -> bool:
        answer = ask(proxy, policy="deadline", quorum=1)
        return answer.status_code == 200 and list(answer.json()["predictions"]) == list(MEMBERS)

    wait_until(vote, BACK_SECONDS)


def version(name: str) -> str:
    """The version of a model, as its card says."""
    return str(json.loads(MLP.with_name(f"{name}.json").read_text())["version"])


def picture(scan: Features) -> dict[str, list[float]]:
    """A scan of shape (64,) as it is sent."""
    return {"pixels": scan.tolist()}


@cache
def unanimous() -> Rows:
    """Held-out scans that all three models read alike."""
    scans = held_out()
    readings = [run(scans.features)[0] for run in RUN.values()]
    chosen = np.all([reading == readings[0] for reading in readings], axis=0)
    return Rows(scans.features[chosen], readings[0][chosen])


# One request


def test_the_answer_is_the_digit_the_votes_and_who_is_missing(these: Office) -> None:
    """H1, H2."""
    answer = ask(these.front).json()
    assert answer.keys() == {"digit", "confidence", "probabilities", "model", "predictions", "missing"}
    assert (answer["digit"], answer["missing"], answer["model"]["name"]) == (7, [], "mean")
    assert answer["confidence"] == max(answer["probabilities"]) == answer["probabilities"][7]
    assert list(answer["predictions"]) == list(MEMBERS)
    for name, digit in answer["predictions"].items():
        assert (digit["digit"], digit["model"]["name"]) == (7, name)
    votes = [digit["probabilities"] for digit in answer["predictions"].values()]
    np.testing.assert_allclose(answer["probabilities"], np.mean(votes, axis=0), atol=2e-6)


def test_a_png_is_read_as_well(these: Office) -> None:
    assert these.front.read((SAMPLES / "two.png").read_bytes()).json()["digit"] == 2


def test_all_members_are_asked_at_the_same_time(these: Office) -> None:
    """H1: each answer takes 0.3 s on its way; the whole takes less than two of them."""
    with these.during(Fault(delay_seconds=0.15), *MEMBERS):
        began = monotonic()
        answer = ask(these.front)
        assert monotonic() - began < 0.6
    spent = dict(entry.split(";dur=") for entry in answer.headers["server-timing"].split(", "))
    assert all(300 < float(spent[name]) < 600 for name in (*MEMBERS, "total"))
    assert not answer.json()["missing"]


def test_one_models_answer_alone_is_its_own(these: Office) -> None:
    """H2."""
    together = ask(these.front).json()["predictions"]
    for name in MEMBERS:
        alone = ask(these.front, path=f"/predict/{name}").json()
        assert alone == these.these.servers[name].read(SEVEN).json() == together[name]


def test_a_model_that_there_is_not_is_a_404_that_names_those_that_there_are(these: Office) -> None:
    answer = ask(these.front, path="/predict/specialist")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "one of linear, svm, mlp" in answer.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [{"policy": "hope"}, {"quorum": 0}, {"quorum": 4}, {"quorum": "two"}, {"aggregation": "median"}, {"more": 1}],
    ids=repr,
)
def test_a_query_that_makes_no_sense_is_a_422(these: Office, query: dict[str, object]) -> None:
    answer = ask(these.front, **query)  # type: ignore[arg-type]
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"query {next(iter(query))}: ")


def test_what_the_votes_become_can_be_asked_for(these: Office) -> None:
    """H2."""
    for how in ("majority", "mean", "weighted"):
        answer = ask(these.front, aggregation=how).json()
        assert (answer["digit"], answer["model"]["name"]) == (7, how)
    answer = ask(these.front, aggregation="none").json()
    assert [answer[name] for name in ("digit", "confidence", "probabilities", "model")] == [None] * 4
    assert len(answer["predictions"]) == 3


@full
def test_hundreds_of_scans_are_answered_as_the_models_say(these: Office) -> None:
    """From many connections: each caller gets the votes on its own picture."""
    scans = held_out().features[held_out().features[:, 0] == 0]  # on others svm would take its time
    answers = [response.json() for response in these.front.read_all([picture(scan) for scan in scans], 16)]
    for name, run in (RUN | {"svm": RUN["mlp"]}).items():
        votes = np.array([answer["predictions"][name]["probabilities"] for answer in answers])
        np.testing.assert_allclose(votes, run(scans)[1], atol=2e-5)
    assert not any(answer["missing"] for answer in answers)


@full
def test_one_trace_runs_through_the_logs_of_all_services(these: Office) -> None:
    trace = uuid4().hex
    answer = these.front.read(SEVEN, traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    assert answer.headers["traceparent"].split("-")[1] == trace
    for name in MEMBERS:
        (line,) = these.these.servers[name].logged(trace_id=trace)
        assert line["path"] == f"/v2/models/{name}/infer"
    assert len(these.front.logged(trace_id=trace)) == 1


# One member hangs


@pytest.mark.parametrize("requests", [pytest.param(40, id="quick"), pytest.param(500, id="full", marks=full)])
def test_with_one_of_three_hung_every_request_is_answered_by_its_deadline_with_two_votes(
    these: Office, requests: int
) -> None:
    """H6, H8: and after its return three vote within seconds."""
    with ThreadPoolExecutor(16) as threads:
        with these.during(SWALLOW, "mlp"):
            calls = [threads.submit(ask, these.front, SEVEN, 400) for _ in range(requests)]
            answers = [call.result() for call in calls]
        back = monotonic()
        all_vote(these.front)
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
def test_what_a_hung_member_costs_is_the_policys_to_say(these: Office, policy: str, status: int, reason: str) -> None:
    """H6; more in test_horizontal_policies.py."""
    with these.during(SWALLOW, "mlp"):
        answer = ask(these.front, deadline_ms=300, policy=policy)
    assert answer.status_code == status
    if status == 200:
        assert missing(answer.json())["mlp"] == reason
    else:
        assert answer.json()["detail"].startswith("mlp: timeout")


# Pictures that are kept


@pytest.fixture(scope="module")
def proxies(these: Office) -> Iterator[dict[str, Server]]:
    """By their RETRIEVAL."""
    with these.another_proxy(retrieval="predictor") as other:
        yield {"proxy": these.front, "predictor": other}


def kept(proxy: Server, body: object) -> dict[str, str]:
    """What `/predict` takes instead of what is now kept."""
    answer = proxy.client.post("/images", json=body)
    assert answer.status_code == 201, answer.text
    image_id: dict[str, str] = answer.json()
    return image_id


def retrievals(these: System) -> int:
    """How often any command has looked an image up to read it."""
    with these.store() as store:
        calls = store.info("commandstats").get("cmdstat_getrange", {"calls": 0})["calls"]
    return int(calls)


@full
def test_requests_to_the_store_are_one_by_the_proxy_or_one_by_each_member(
    these: Office, proxies: dict[str, Server]
) -> None:
    """H4: counted by the store itself; the answers are the same."""
    scans, labels = unanimous()
    for scan, label in zip(scans[:20], labels[:20], strict=True):
        image_id, answers = kept(these.front, picture(scan)), []
        for retrieval, wanted in {"proxy": 1, "predictor": 3}.items():
            before = retrievals(these.these)
            answers.append(ask(proxies[retrieval], image_id))
            assert retrievals(these.these) - before == wanted
        by_proxy, by_predictor = (answer.json() for answer in answers)
        assert by_proxy["digit"] == by_predictor["digit"] == label
        assert by_proxy["missing"] == by_predictor["missing"] == []
        for name in MEMBERS:
            votes = [answer["predictions"][name]["probabilities"] for answer in (by_proxy, by_predictor)]
            assert votes[0] == pytest.approx(votes[1], abs=2e-6)
            alone = [ask(proxy, image_id, path=f"/predict/{name}").json() for proxy in proxies.values()]
            assert alone[0]["digit"] == alone[1]["digit"]


@full
def test_an_id_that_was_never_given_is_a_404_whoever_retrieves_it(proxies: dict[str, Server]) -> None:
    """Hundreds of times, since members may tell it at the same moment; and no failure is left unheard."""
    for proxy in proxies.values():
        for path in ("/predict", "/predict/mlp"):
            for _ in range(100):
                answer = ask(proxy, {"image_id": str(uuid4())}, path=path)
                assert answer.status_code == 404
                assert "POST /images gives an id" in answer.json()["detail"]
        assert [line for line in proxy.log_lines() if line["level"] == "ERROR"] == []
        assert ask(proxy).json()["missing"] == []  # which was no failure of theirs


def test_an_id_is_read_like_the_picture_and_an_unknown_one_is_a_404(these: Office) -> None:
    """H4."""
    assert ask(these.front, kept(these.front, SEVEN)).json() == ask(these.front).json()
    assert ask(these.front, {"image_id": str(uuid4())}).status_code == 404


# Jobs


class Event(NamedTuple):
    """What a stream of events told, and when."""

    name: str
    data: Answer
    at: float


def submit(proxy: Server, body: object = SEVEN) -> str:
    """The place of a job that was accepted."""
    answer = proxy.client.post("/jobs", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/jobs/{answer.json()['job_id']}"
    assert answer.json()["status"] == "running"
    return answer.headers["location"]


def look(proxy: Server, job: str, wait: float = 0) -> Answer:
    """The job as it is, or once it is closed."""
    answer = proxy.client.get(job, params={"wait": wait})
    assert answer.status_code == 200, answer.text
    found: Answer = answer.json()
    return found


def events(proxy: Server, job: str) -> Iterator[Event]:
    """What is told of a job, as it comes."""
    with proxy.client.stream("GET", f"{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield Event(name, json.loads(value), monotonic())


def all_answered(proxy: Server, job: str) -> Answer:
    """The job once every member has answered."""
    return has_answers(proxy, job, 3)


def has_answers(proxy: Server, job: str, count: int) -> Answer:
    """The job once so many members have answered."""

    def look_again() -> Any:
        found = look(proxy, job)
        return found if len(found["predictions"]) == count else None

    answer: Answer = wait_until(look_again, 20)
    return answer


def test_a_job_is_told_of_as_it_goes_and_closed_without_who_is_slow(these: Office) -> None:
    """H5, H7: the next action begins on linear's answer; two agree, and svm is late, which changes nothing."""
    job = submit(these.front, slow_pixels(0.6))
    began = monotonic()
    told = list(events(these.front, job))
    names = [event.name for event in told]
    assert sorted(names[:-1]) == ["early", "prediction", "prediction"]
    assert names[-1] == "aggregate"
    by_linear = [event.data.get("model", {}) for event in told[: names.index("early")]]
    assert "linear" in [model["name"] for model in by_linear]
    early = told[names.index("early")].data
    assert (early["model"], early["digit"], early["action"]) == ("linear", 7, "tray 7 is called in")
    closed = told[-1].data
    assert told[-1].at - began < 0.6
    assert (closed["status"], closed["prediction"]["digit"]) == ("done", 7)
    assert (closed["predictions"].keys(), missing(closed)) == ({"linear", "mlp"}, {"svm": "late"})
    complete = all_answered(these.front, job)
    assert complete["predictions"]["svm"]["digit"] == 7
    assert complete | {"predictions": None} == closed | {"predictions": None}


def test_what_a_killed_member_and_a_killed_post_processor_had_in_hand_is_done_when_they_are_back(
    these: Office,
) -> None:
    """H7, H8: each job is closed once, with the right digit, and has one answer of each member."""
    front = these.front
    slow = submit(front, slow_pixels(0.5))
    wait_until(lambda: len(look(front, slow)["predictions"]) == 2)
    these.kill("svm", "postprocessor")
    scans, labels = unanimous()
    scans, labels = scans[scans[:, 0] == 0][:10], labels[scans[:, 0] == 0][:10]
    jobs = [submit(front, picture(scan)) for scan in scans]
    wait_until(lambda: all(len(look(front, job)["predictions"]) == 2 for job in jobs))
    assert look(front, jobs[0])["status"] == "running"
    these.start("postprocessor", "svm")
    closed = [look(front, job, wait=15) for job in jobs]
    assert [(job["status"], job["prediction"]["digit"]) for job in closed] == [("done", label) for label in labels]
    complete = [all_answered(front, job) for job in (slow, *jobs)]
    assert [job["finished_at"] for job in complete[1:]] == [job["finished_at"] for job in closed]
    with these.these.store() as store:
        wait_until(lambda: store.xlen("microservice_horizontal:jobs") == 0)
        assert store.zcard("microservice_horizontal:deadlines") == 0
