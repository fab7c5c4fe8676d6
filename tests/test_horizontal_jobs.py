"""Jobs that all members read: what is told of them, when they are closed, and what is left of them (H5, H7, H8).

svm and mlp take as long as a picture says, svm reads one at a time. Quick tests stand in test_horizontal.py.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from redis import Redis

from common.training.data import held_out
from tests.offices import RUN, SEVEN, Answer, Office, kept, missing, office, picture, unanimous
from tests.processes import free_port, wait_until
from tests.servers import MLP, SEVEN_PIXELS, Server, is_ready, slow_pixels, slow_reader
from tests.systems import MEMBERS
from tests.voted_jobs import all_answered, events, has_answers, look, submit

pytestmark = pytest.mark.full
JOBS = "microservice_horizontal:jobs"
ANSWERS = "microservice_horizontal:answers"
DEADLINES = "microservice_horizontal:deadlines"
LONG = {"X-Request-Timeout-Ms": "20000"}


@pytest.fixture(scope="module")
def these(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    slow = slow_reader(tmp_path_factory.mktemp("slow") / "slow.onnx")
    one_by_one = {"max_batch_rows": 1, "max_queue_rows": 1}
    svm = {"svm_model_uri": slow, "model_threads": 1, "lease_seconds": 1} | one_by_one
    with office({"svm": svm, "mlp": {"mlp_model_uri": slow, "model_threads": 1}}) as these:
        yield these


@pytest.fixture(scope="module")
def hasty(these: Office) -> Iterator[Server]:
    """A proxy whose jobs have a second."""
    with these.another_proxy(job_deadline_seconds=1) as proxy:
        yield proxy


def differ() -> tuple[Answer, Any]:
    """A scan of which linear and mlp say different things, and the mean of their probabilities."""
    scans = held_out().features[held_out().features[:, 0] == 0]
    (linear, sure), (mlp, surer) = RUN["linear"](scans), RUN["mlp"](scans)
    row = int(np.flatnonzero(linear != mlp)[0])
    return picture(scans[row]), (sure[row] + surer[row]) / 2


def rows(server: Server) -> float:
    """How many pictures a member has looked at."""
    return server.metric("batch_rows_sum")


# What becomes of a job


def test_a_job_is_accepted_and_every_member_answers_it_once(these: Office) -> None:
    """A picture, or one that is kept."""
    system = these.these
    before = {name: rows(system.servers[name]) for name in MEMBERS}
    answer = these.front.client.post("/jobs", json=SEVEN)
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
    for job in (answer.headers["location"], submit(these.front, kept(these.front, SEVEN))):
        closed, complete = look(these.front, job, wait=10), all_answered(these.front, job)
        assert (closed["status"], closed["prediction"]["digit"], closed["error"]) == ("done", 7, None)
        assert closed["prediction"]["model"]["name"] == "mean"
        assert {name: digit["digit"] for name, digit in complete["predictions"].items()} == dict.fromkeys(MEMBERS, 7)
        assert list(complete["predictions"]) == list(MEMBERS)
    assert {name: rows(system.servers[name]) - before[name] for name in MEMBERS} == dict.fromkeys(MEMBERS, 2)


def test_each_answer_is_told_the_moment_it_is_there(these: Office) -> None:
    """H5: linear's long before the others'; with it the next action begins, while they are still at work."""
    job = submit(these.front, slow_pixels(0.7))
    began = monotonic()
    linear, early, slow, *_, aggregate = told = list(events(these.front, job))
    assert linear.data["model"]["name"] == "linear"
    assert (early.name, early.data["model"], early.data["digit"]) == ("early", "linear", 7)
    assert early.at - began < 0.6
    assert slow.at - linear.at > 0.4
    assert {event.name for event in told[2:-1]} == {"prediction"}
    assert (aggregate.name, aggregate.data["status"]) == ("aggregate", "done")
    all_answered(these.front, job)


def test_when_the_next_action_begins_and_how_many_must_agree_are_settings(these: Office) -> None:
    """H5, H7."""
    these.these.stop("postprocessor")
    these.these.start("postprocessor", early_model="svm", quorum=3)
    told = list(events(these.front, submit(these.front, slow_pixels(0.3))))
    these.these.stop("postprocessor")
    these.start("postprocessor")
    names = [event.name for event in told]
    assert sorted(names[:-1]) == ["early", *["prediction"] * 3]
    assert told[0].data["model"]["name"] == "linear"
    assert told[names.index("early")].data["model"] == "svm"
    assert "svm" in [event.data["model"]["name"] for event in told[1 : names.index("early")]]
    assert (names[-1], told[-1].data["missing"]) == ("aggregate", [])


def test_who_comes_to_listen_when_all_is_over_is_told_all(these: Office) -> None:
    job = submit(these.front)
    all_answered(these.front, job)
    look(these.front, job, wait=10)
    wait_until(lambda: look(these.front, job)["early"])
    assert [event.name for event in events(these.front, job)] == [*["prediction"] * 3, "early", "aggregate"]


def test_a_job_is_closed_at_its_deadline_with_what_there_is(these: Office, hasty: Server) -> None:
    """H7: the two who answered do not agree, and svm stands still; its late answer changes nothing."""
    body, mean = differ()
    with these.hung("svm"):
        began = monotonic()
        job = submit(hasty, body)
        told = list(events(hasty, job))
        assert 0.9 < monotonic() - began < 3
    closed = told[-1].data
    assert (told[-1].name, closed["status"], missing(closed)) == ("aggregate", "done", {"svm": "timeout"})
    assert closed["prediction"]["digit"] == mean.argmax()
    np.testing.assert_allclose(closed["prediction"]["probabilities"], mean, atol=2e-5)
    complete = all_answered(hasty, job)
    assert complete | {"predictions": None} == closed | {"predictions": None}


def test_with_less_than_a_quorum_at_its_deadline_a_job_has_failed(these: Office, hasty: Server) -> None:
    with these.hung("svm", "mlp"):
        job = submit(hasty)
        told = list(events(hasty, job))
    failed = told[-1].data
    assert [event.name for event in told] == ["prediction", "early", "failed"]
    assert (failed["status"], failed["prediction"]) == ("failed", None)
    assert failed["error"] == "1 of 3 models answered in time, expected at least 2"
    assert missing(failed) == {"svm": "timeout", "mlp": "timeout"}
    complete = all_answered(hasty, job)
    assert complete | {"predictions": None} == failed | {"predictions": None}


def test_what_came_while_a_member_was_down_two_processes_of_it_share(these: Office) -> None:
    """H8: nobody waited for it; each job is read by one of the two, which begin at the same time."""
    system, settings, count = these.these, these.settings["svm"] | {"lease_seconds": 10}, 30
    system.stop("svm")
    jobs = [submit(these.front, slow_pixels(0.1)) for _ in range(count)]
    closed = [look(these.front, job, wait=10) for job in jobs]
    assert {(job["status"], job["prediction"]["digit"]) for job in closed} == {("done", 7)}
    assert all("svm" not in job["predictions"] and missing(job)["svm"] == "late" for job in closed)
    with these.hung("redis"):
        second = system.launch("svm", **settings | {"microservice_horizontal_svm_port": free_port()})
        first = system.launch("svm", **settings)
        wait_until(lambda: is_ready(first) and is_ready(second))
    for job in jobs:
        assert all_answered(these.front, job)["predictions"]["svm"]["digit"] == 7
    read = {name: rows(server) for name, server in (("first", first), ("second", second))}
    for server in (first, second):
        server.process.terminate()
        server.process.wait(20)
    these.start("svm")
    wait_until(lambda: is_ready(system.servers["svm"]))
    print(read)
    assert sum(read.values()) == count
    assert min(read.values()) > 0


def test_a_callers_trace_stands_in_what_each_member_logs_of_the_job(these: Office) -> None:
    trace = uuid4().hex
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = these.front.client.post("/jobs", json=SEVEN, headers=headers)
    for name in MEMBERS:
        (line,) = these.these.servers[name].logged(message=f"job {answer.json()['job_id']}: answered")
        assert line["trace_id"] == trace


def test_a_picture_over_which_one_member_fails_is_an_error_of_that_member_and_of_that_job(
    these: Office, tmp_path: Path
) -> None:
    """H8: though others share its batch."""
    system = these.these
    system.stop("mlp")
    jobs = [submit(these.front) for _ in range(12)]
    poisoned = submit(these.front, failing())
    system.start("mlp", mlp_model_uri=fails_on_ink_in_the_corner(tmp_path / "mlp.onnx"))
    assert all(all_answered(these.front, job)["predictions"]["mlp"]["digit"] == 7 for job in jobs)
    said = wait_until(lambda: answered(these, poisoned, "mlp"), 4)  # by the first process that tries it
    system.stop("mlp")
    these.start("mlp")
    assert said.startswith(b'{"error":'), said
    has_answers(these.front, poisoned, 2)
    job = look(these.front, poisoned, wait=10)
    assert (job["status"], job["prediction"]["digit"], job["predictions"].keys()) == ("done", 7, {"linear", "svm"})
    wait_until(lambda: is_ready(system.servers["mlp"]))


@pytest.mark.parametrize("factor", [float("nan"), 2.0], ids=["NaN", "a sum of two"])
def test_what_are_no_probabilities_is_an_error_of_that_member_and_the_job_is_read_by_the_others(
    these: Office, tmp_path: Path, factor: float
) -> None:
    """H8."""
    system = these.these
    system.stop("mlp")
    system.start("mlp", mlp_model_uri=gives_no_probabilities(tmp_path / "mlp.onnx", factor))
    job = submit(these.front)
    said = wait_until(lambda: answered(these, job, "mlp"))
    system.stop("mlp")
    these.start("mlp")
    assert said.startswith(b'{"error":'), said
    has_answers(these.front, job, 2)
    closed = look(these.front, job, wait=10)
    assert (closed["status"], closed["prediction"]["digit"], closed["predictions"].keys()) == (
        "done",
        7,
        {"linear", "svm"},
    )
    wait_until(lambda: is_ready(system.servers["mlp"]))


def test_a_job_may_take_longer_than_any_caller_may_wait(these: Office) -> None:
    with svm_with(these, request_timeout_ms=300, max_request_timeout_ms=300):
        job = submit(these.front, slow_pixels(0.8))
        said = wait_until(lambda: answered(these, job, "svm"))
    assert b'"digit":7' in said, said


def test_a_job_for_which_one_process_had_no_time_is_left_to_the_next(these: Office) -> None:
    """No error stands for its answer: nothing is wrong with it."""
    with svm_with(these, job_ttl_seconds=1, lease_seconds=60) as svm:
        job = submit(these.front, slow_pixels(1.5))
        wait_until(lambda: rows(svm) == 1)
        assert answered(these, job, "svm") is None
    assert all_answered(these.front, job)["predictions"]["svm"]["digit"] == 7


@contextmanager
def svm_with(these: Office, **settings: object) -> Iterator[Server]:
    """svm is another process, with these settings, as long as the block."""
    these.these.stop("svm")
    yield these.these.start("svm", **these.settings["svm"] | settings)
    these.these.stop("svm")
    these.start("svm")
    wait_until(lambda: is_ready(these.these.servers["svm"]))


def failing() -> Answer:
    """A picture with ink in the corner."""
    return {"pixels": [2, *SEVEN_PIXELS[1:]]}


def answered(these: Office, job: str, name: str) -> Any:
    """What a member has said of a job, as it is kept."""
    with these.these.store() as store:
        return store.hget(f"microservice_horizontal:job:{job.rpartition('/')[2]}", f"answer:{name}")


def gives_no_probabilities(path: Path, factor: float) -> str:
    """The mlp reader, whose probabilities are multiplied by something."""
    model = with_another_end(helper.make_node("Mul", ["fine_probabilities", "factor"], ["probabilities"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([factor], np.float32), "factor"))
    onnx.save(model, path)
    return str(path)


def fails_on_ink_in_the_corner(path: Path) -> str:
    """The mlp reader, which looks up what is not there if the first cell holds ink."""
    model = with_another_end(
        helper.make_node("Slice", ["features", "zero", "one", "one"], ["corner"]),
        helper.make_node("ReduceMax", ["corner"], ["ink"], keepdims=0),
        helper.make_node("Cast", ["ink"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["places", "place"], ["found"]),
        helper.make_node("Add", ["fine_probabilities", "found"], ["probabilities"]),
    )
    constants = {"zero": np.array([0]), "one": np.array([1]), "places": np.zeros(1, np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.save(model, path)
    return str(path)


def with_another_end(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """The mlp reader, whose `fine_probabilities` these nodes turn into its `probabilities`."""
    model = onnx.load(MLP)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["fine_probabilities" if name == "probabilities" else name for name in names]
    model.graph.node.extend(nodes)
    return model


def test_callers_of_predict_cost_no_job_its_answer(these: Office) -> None:
    """They fill the queue before the model: that passes, and is no fault of the job."""
    svm = these.these.servers["svm"]
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(svm.read, slow_pixels(0.8), **LONG)
        wait_until(lambda: svm.read(SEVEN, **{"X-Request-Timeout-Ms": "30"}).status_code == 504)
        second = threads.submit(svm.read, slow_pixels(0.3), **LONG)
        wait_until(lambda: svm.metric("queue_rows") == 1)
        job = submit(these.front)
        assert [call.result().status_code for call in (first, second)] == [200, 200]
    said = wait_until(lambda: answered(these, job, "svm"), 20)
    assert b'"digit":7' in said, said


# What is refused, and what is left


def test_so_many_jobs_may_be_open_and_one_more_is_a_429(these: Office) -> None:
    these.these.stop("postprocessor")
    with these.another_proxy(max_open_jobs=3) as proxy:
        jobs = [submit(proxy) for _ in range(3)]
        answer = proxy.client.post("/jobs", json=SEVEN)
        these.start("postprocessor")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert "3 jobs" in answer.json()["detail"]
        assert [look(proxy, job, wait=10)["status"] for job in jobs] == ["done"] * 3
        submit(proxy)


def test_of_jobs_that_come_at_the_same_time_no_more_are_taken_than_may_be_open(these: Office) -> None:
    """The store has all of them before it, when it comes to the first."""
    with these.these.store() as store:
        wait_until(lambda: store.zcard(DEADLINES) == 0)
        these.these.stop("postprocessor")
        with these.another_proxy(max_open_jobs=3) as proxy, ThreadPoolExecutor(16) as threads:
            with these.hung("redis"):
                calls = [threads.submit(proxy.client.post, "/jobs", json=SEVEN, headers=LONG) for _ in range(16)]
                time.sleep(0.5)
            answers = [call.result() for call in calls]
        assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 13
        assert store.zcard(DEADLINES) == 3
        these.start("postprocessor")
        wait_until(lambda: store.zcard(DEADLINES) == 0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"pixels": [0] * 64}, 422),
        ([SEVEN], 422),
        ({}, 422),
        ({"image_id": "7"}, 422),
        ({"image_id": str(uuid4())}, 404),
    ],
    ids=["blank", "a_list", "nothing", "no_id", "unknown_id"],
)
def test_what_cannot_be_read_is_no_job(these: Office, body: object, status: int) -> None:
    with these.these.store() as store:
        before = store.zcard(DEADLINES)
        assert these.front.client.post("/jobs", json=body).status_code == status
        assert store.zcard(DEADLINES) == before


@pytest.mark.parametrize("path", ["", "/events"])
def test_a_job_that_there_is_not_is_a_404_and_what_is_no_id_a_422(these: Office, path: str) -> None:
    assert these.front.get(f"/jobs/{uuid4()}{path}").status_code == 404
    assert these.front.get(f"/jobs/seven{path}").status_code == 422
    assert these.front.client.post(f"/jobs/{uuid4()}{path}").status_code == 405


def test_of_many_jobs_each_is_closed_once_with_its_own_digit_and_leaves_no_entry(these: Office) -> None:
    scans, labels = (part[unanimous().features[:, 0] == 0][:200] for part in unanimous())
    with ThreadPoolExecutor(8) as threads, these.these.store() as store:
        jobs = list(threads.map(lambda scan: submit(these.front, picture(scan)), scans))
        closed = list(threads.map(lambda job: look(these.front, job, wait=10), jobs))
        complete = list(threads.map(lambda job: all_answered(these.front, job), jobs))
        assert [job["prediction"]["digit"] for job in closed] == labels.tolist()
        assert [job["early"]["digit"] for job in complete] == [j["predictions"]["linear"]["digit"] for j in complete]
        wait_until(lambda: store.xlen(JOBS) == store.xlen(ANSWERS) == store.zcard(DEADLINES) == 0)
        for name in MEMBERS:
            assert store.xpending(JOBS, name)["pending"] == 0


def test_nothing_is_left_of_jobs_when_their_time_is_over() -> None:
    """But two streams that are empty; jobs that one member never answered are forgotten too."""
    short: dict[str, object] = {"job_ttl_seconds": 4}
    services = dict.fromkeys((*MEMBERS, "postprocessor"), short)
    with office(services, **short, image_ttl_seconds=4) as these, these.these.store() as store:
        jobs = [submit(these.front, kept(these.front, SEVEN)) for _ in range(5)]
        for job in jobs:
            all_answered(these.front, job)
        these.kill("svm")
        jobs += [submit(these.front) for _ in range(5)]
        assert [look(these.front, job, wait=10)["status"] for job in jobs] == ["done"] * 10
        streams = {JOBS.encode(), ANSWERS.encode()}
        wait_until(lambda: set(store.keys("*")) <= streams, 20)
        assert {these.front.get(job).status_code for job in jobs} == {404}
        submit(these.front)
        these.start("svm")
        wait_until(lambda: store.xlen(JOBS) == store.xlen(ANSWERS) == 0, 20)
        wait_until(lambda: set(store.keys("*")) <= streams, 20)


def test_processes_that_are_no_more_are_struck_off_the_lists_of_those_who_read(these: Office) -> None:
    """Else each start of a member or a post-processor would leave an entry for good."""
    with these.these.store() as store, svm_with(these, lease_seconds=0.1):
        for name, settings in (("svm", these.settings["svm"] | {"lease_seconds": 0.1}), ("postprocessor", {})):
            for _ in range(2):
                these.these.stop(name)
                these.these.start(name, **settings)
        for stream, group in ((JOBS, "svm"), (ANSWERS, "post-processors")):
            wait_until(partial(reads_alone, store, stream, group))


def reads_alone(store: Redis, stream: str, group: str) -> bool:
    """Whether one consumer is all that the group knows."""
    return len(store.xinfo_consumers(stream, group)) == 1


def test_after_all_that_no_service_has_logged_an_error(these: Office) -> None:
    for name in (these.these.front_name, "linear", "svm", "postprocessor"):
        lines = these.these.servers[name].log_lines()
        assert [line for line in lines if line["level"] == "ERROR" or line.get("status") == 500] == [], name
