"""The asynchronous pattern as its clients see it: handed in now, fetched later, refused where it cannot be kept (A1).

One Redis, one predictor; a second proxy reaches Redis over a link that can fail, and takes few jobs.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from redis import Redis

from tests import faults
from tests.faults import Fault, Link
from tests.jobs import (
    SEVEN,
    becomes,
    dead_letters,
    done,
    ended,
    events,
    hand_in,
    hand_in_all,
    hung,
    killed,
    look,
    moment,
    submit,
)
from tests.processes import free_port, wait_until
from tests.servers import PNG, POISON, SAMPLES, Server, is_ready, poison_reader, poisoned
from tests.systems import System, asynchronous

FEW = 5
SLACK_SECONDS = 1.0
full = pytest.mark.full


class Office(NamedTuple):
    """The proxy, the predictor, and another proxy with its link to Redis, which takes only a few jobs."""

    these: System
    front: Server
    predictor: Server
    linked: Server
    link: Link
    redis: "Redis"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    model = poison_reader(tmp_path_factory.mktemp("poison") / "mlp.onnx")
    with asynchronous({"predictor": {"model_uri": model, "max_attempts": 2, "backoff_seconds": 0.05}}) as these:
        front = these.front
        with Link(these.port("redis")).running() as link:
            url, port = f"redis://127.0.0.1:{link.port}/0", free_port()
            linked = these.launch(
                "asynchronous",
                asynchronous_asynchronous_port=port,
                asynchronous_port=port,
                redis_url=url,
                max_queued_jobs=FEW,
            )
            wait_until(lambda: is_ready(linked))
            yield Office(these, front, these.servers["predictor"], linked, link, these.store())
            linked.process.terminate()
            linked.process.wait(20)


@pytest.fixture
def front(office: Office) -> Server:
    return office.front


# Handing in and fetching


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


def test_a_job_reads_what_the_predictor_reads(office: Office) -> None:
    for name in ("zero", "two", "four", "seven"):
        picture = (SAMPLES / f"{name}.png").read_bytes()
        job_id = office.front.client.post("/jobs", content=picture, headers=PNG).json()["job_id"]
        assert ended(office.front, job_id)["prediction"] == office.predictor.read(picture).json()


def test_an_accepted_job_is_in_redis_and_waits_there_for_a_predictor(office: Office) -> None:
    with hung(office.predictor):
        for job_id in (ids := hand_in_all(office.front, [SEVEN] * 20)):
            assert office.redis.hlen(f"asynchronous:job:{job_id}") > 0
            assert look(office.front, job_id)["status"] == "queued"
    done(office.front, *ids)


@pytest.mark.parametrize("path", ["/jobs/{}", "/jobs/{}?wait=5", "/jobs/{}/events"])
def test_a_job_that_is_unknown_is_a_404_and_what_is_no_id_a_422(front: Server, path: str) -> None:
    assert front.get(path.format(uuid4())).status_code == 404
    answer = front.get(path.format("seven"))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "soon"])
def test_a_wait_that_is_no_time_is_a_422(front: Server, wait: str) -> None:
    assert front.get(f"/jobs/{hand_in(front)}?wait={wait}").status_code == 422


# Idempotency-Key


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_the_same_idempotency_key_and_body_is_the_same_job(front: Server) -> None:
    key = str(uuid4())
    first = submit(front, SEVEN, keyed(key))
    ended(front, first.json()["job_id"])
    again = submit(front, SEVEN, keyed(key))
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert submit(front, SEVEN, keyed(str(uuid4()))).json()["job_id"] != first.json()["job_id"]


def test_the_same_idempotency_key_with_another_body_is_a_422(front: Server) -> None:
    key = str(uuid4())
    submit(front, SEVEN, keyed(key))
    for other in (submit(front, poisoned(1), keyed(key)), submit(front, SEVEN, keyed(key), ordering_key="a")):
        assert (other.status_code, other.headers["content-type"]) == (422, "application/problem+json")
        assert "Idempotency-Key" in other.json()["detail"]


def test_an_idempotency_key_that_comes_from_many_threads_at_once_is_one_job(office: Office) -> None:
    key = str(uuid4())
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: submit(office.front, SEVEN, keyed(key)), range(48)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    (job,) = done(office.front, answers[0].json()["job_id"])
    assert job["attempts"] == 1


def test_an_idempotency_key_that_is_too_long_is_a_422(front: Server) -> None:
    assert submit(front, SEVEN, keyed("k" * 256)).status_code == 422


# Waiting


def test_who_waits_has_the_job_as_soon_as_it_is_done_and_not_before(office: Office) -> None:
    with ThreadPoolExecutor(30) as threads:
        with hung(office.predictor):
            ids = hand_in_all(office.front, [SEVEN] * 10)
            waiting = [threads.submit(ended, office.front, job_id) for job_id in ids * 3]
            sleep(0.3)
            assert not any(one.done() for one in waiting)
            resumed = monotonic()
        assert {one.result()["status"] for one in waiting} == {"done"}
        assert monotonic() - resumed < SLACK_SECONDS + 2


def test_a_wait_that_is_over_gives_the_job_as_it_is(office: Office) -> None:
    with hung(office.predictor):
        job_id, began = hand_in(office.front), monotonic()
        answer = office.front.get(f"/jobs/{job_id}?wait=0.3")
        assert 0.3 <= monotonic() - began < 0.3 + SLACK_SECONDS
        assert answer.json()["status"] == "queued"
        assert int(answer.headers["retry-after"]) > 0
    done(office.front, job_id)


@full
def test_who_waits_does_not_keep_redis_busy(office: Office) -> None:
    waiters, seconds = 50, 3
    with hung(office.predictor), ThreadPoolExecutor(waiters) as threads:
        job_id = hand_in(office.front)
        office.redis.config_resetstat()
        wait = lambda _: office.front.get(f"/jobs/{job_id}?wait={seconds}").json()["status"]  # noqa: E731
        assert set(threads.map(wait, range(waiters))) == {"queued"}
        stats: Any = office.redis.info("commandstats")
    assert sum(command["calls"] for command in stats.values()) < waiters * (seconds + 4)
    done(office.front, job_id)


def test_events_tell_the_states_in_order_and_end_with_the_job(office: Office) -> None:
    with hung(office.predictor):
        job_id = hand_in(office.front)
        told = events(office.front, job_id)
        seen = [next(told)]
        assert seen[0][0] == "queued"
    seen += told
    names = [name for name, _ in seen]
    assert names in (["queued", "running", "done"], ["queued", "done"])  # quick as it is, nobody may see it run
    assert [job["status"] for _, job in seen] == names
    assert seen[-1][1] == look(office.front, job_id)
    assert [name for name, _ in events(office.front, job_id)] == ["done"]


# Calling off


def test_what_has_not_begun_can_be_called_off_and_is_never_done(office: Office) -> None:
    with ThreadPoolExecutor(1) as threads, hung(office.predictor):
        job_ids = hand_in_all(office.front, [SEVEN] * 5)
        waiting = threads.submit(ended, office.front, job_ids[0])
        for job_id in job_ids:
            answer = office.front.client.delete(f"/jobs/{job_id}")
            assert (answer.status_code, answer.json()["status"]) == (200, "failed")
            assert "called off" in answer.json()["error"]
        assert waiting.result() == look(office.front, job_ids[0])
    done(office.front, *hand_in_all(office.front, [SEVEN] * 3))
    for job_id in job_ids:
        job = look(office.front, job_id)
        assert (job["status"], job["prediction"], job["attempts"], job["started_at"]) == ("failed", None, 0, None)
        assert office.front.client.delete(f"/jobs/{job_id}").status_code == 409
    assert not dead_letters(office.front).keys() & set(job_ids)


def test_what_is_done_cannot_be_called_off(front: Server) -> None:
    (job,) = done(front, hand_in(front))
    assert front.client.delete(f"/jobs/{job['job_id']}").status_code == 409
    assert look(front, job["job_id"]) == job
    assert front.client.delete(f"/jobs/{uuid4()}").status_code == 404
    assert front.client.delete("/jobs/seven").status_code == 422


# The predictor's batches


def test_a_bad_item_fails_alone_and_the_rest_of_its_batch_is_done(office: Office) -> None:
    with hung(office.predictor):
        first, *ids = hand_in_all(office.front, [SEVEN] * 25)
        bad = hand_in(office.front, poisoned())
        ids += hand_in_all(office.front, [SEVEN] * 25)
    assert {job["attempts"] for job in done(office.front, first, *ids)} == {1}
    job = ended(office.front, bad)
    assert (job["status"], job["attempts"], job["prediction"]) == ("failed", 2, None)
    letter = dead_letters(office.front)[bad]
    assert letter["error"] == job["error"]
    assert (letter["attempts"], letter["pixels"]) == (2, [POISON, *SEVEN["pixels"][1:]])


def test_jobs_that_have_piled_up_are_done_in_few_inferences(office: Office) -> None:
    before = [office.predictor.metric(f"batch_rows_{what}") for what in ("count", "sum")]
    with hung(office.predictor):
        ids = hand_in_all(office.front, [SEVEN] * 100)
    done(office.front, *ids)
    count, rows = (office.predictor.metric(f"batch_rows_{what}") for what in ("count", "sum"))
    assert rows - before[1] == 100
    assert count - before[0] <= 4


def test_the_predictor_counts_attempts_by_how_they_ended_and_jobs_that_have_not(office: Office) -> None:
    def counted() -> list[float]:
        return [office.predictor.metric("jobs_total", outcome=outcome) for outcome in ("done", "retry", "dead")]

    before = counted()
    good, bad = hand_in(office.front), hand_in(office.front, poisoned())
    done(office.front, good)
    ended(office.front, bad)
    wait_until(lambda: counted() == [before[0] + 1, before[1] + 1, before[2] + 1], 5)
    wait_until(lambda: office.predictor.metric("jobs_open") == 0, 5)


def test_a_trace_goes_through_the_queue(office: Office) -> None:
    trace = uuid4().hex
    job_id = hand_in(office.front, SEVEN, {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    done(office.front, job_id)
    (line,) = office.front.logged(trace_id=trace)
    assert (line["path"], line["status"], line["job_id"]) == ("/jobs", 202, job_id)
    (line,) = office.predictor.logged(trace_id=trace)
    assert job_id in line["message"]


# What cannot be kept is refused


def test_a_full_queue_is_a_429_at_once(office: Office) -> None:
    with hung(office.predictor):
        ids = [hand_in(office.linked) for _ in range(FEW)]
        began = monotonic()
        answer = submit(office.linked)
        assert monotonic() - began < SLACK_SECONDS
        assert (answer.status_code, answer.headers["content-type"]) == (429, "application/problem+json")
        assert int(answer.headers["retry-after"]) > 0
        assert office.linked.client.delete(f"/jobs/{ids.pop()}").status_code == 200
        ids.append(hand_in(office.linked))  # there is room again
    done(office.front, *ids)
    done(office.linked, hand_in(office.linked))


def open_jobs(office: Office) -> set[bytes]:
    return set(office.redis.keys("asynchronous:job:*"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "deadline_ms", "seconds"),
    [
        pytest.param(faults.REFUSE, 5_000, 0, id="refuses"),
        pytest.param(faults.SWALLOW, 300, 0.3, id="hangs"),
        pytest.param(faults.RESET, 5_000, 0, id="hangs up"),
        pytest.param(Fault(answer=b"-LOADING Redis is loading the dataset in memory\r\n"), 5_000, 0, id="loads"),
    ],
)
def test_while_redis_is_away_no_job_is_accepted(office: Office, fault: Fault, deadline_ms: int, seconds: float) -> None:
    before = open_jobs(office)
    job_id = hand_in(office.linked)
    done(office.linked, job_id)
    headers = {"X-Request-Timeout-Ms": str(deadline_ms)}
    office.link.set(fault)
    try:
        for method, path in (("POST", "/jobs"), ("GET", f"/jobs/{job_id}"), ("DELETE", f"/jobs/{job_id}")):
            began = monotonic()
            answer = office.linked.client.request(method, path, json=SEVEN, headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert int(answer.headers["retry-after"]) > 0
            assert monotonic() - began < seconds + SLACK_SECONDS
        assert not is_ready(office.linked)
    finally:
        office.link.set(faults.PASS)
    assert len(open_jobs(office) - before) == 1
    wait_until(lambda: is_ready(office.linked), 5)
    done(office.linked, hand_in(office.linked))


def test_a_job_whose_keeping_was_not_told_is_a_503_or_is_there(office: Office) -> None:
    done(office.linked, hand_in(office.linked))
    for fault in (faults.CUT, faults.CUT_BY_RESET, Fault(cut_after=0), Fault(cut_after=3, reset=True)):
        office.link.set(fault, once=True)
        answer = submit(office.linked, headers={"X-Request-Timeout-Ms": "1000"})
        assert answer.status_code in (202, 503), answer.text
        if answer.status_code == 202:
            done(office.linked, answer.json()["job_id"])
    office.link.set(faults.PASS)
    wait_until(lambda: office.predictor.metric("jobs_open") == 0, 5)
    done(office.linked, *[hand_in(office.linked) for _ in range(3)])


@pytest.mark.parametrize("seconds", [0.1, pytest.param(2.5, marks=full)])
def test_who_waits_or_listens_is_served_although_redis_is_away_for_a_while(office: Office, seconds: float) -> None:
    with ThreadPoolExecutor(2) as threads, hung(office.predictor):
        job_id = hand_in(office.linked)
        waiting = threads.submit(ended, office.linked, job_id)
        told = events(office.linked, job_id)
        assert next(told)[0] == "queued"
        sleep(0.1)
        office.link.set(faults.REFUSE)
        sleep(seconds)
        office.link.set(faults.PASS)
        sleep(0.1)
        listening = threads.submit(list, told)
        office.predictor.process.send_signal(18)
        assert waiting.result()["status"] == "done"
        assert listening.result()[-1][0] == "done"


@full
def test_a_restart_of_redis_loses_nothing_and_ends_no_wait(office: Office) -> None:
    with ThreadPoolExecutor(12) as threads:
        with hung(office.predictor):
            ids = hand_in_all(office.front, [SEVEN] * 10)
            sleep(1.1)  # what was acknowledged longer ago than a second survives a kill
            waiting = [threads.submit(ended, office.front, job_id) for job_id in ids]
            told = events(office.front, ids[0])
            assert next(told)[0] == "queued"
            sleep(0.3)
            killed(office.these.servers["redis"])
            assert submit(office.front).status_code == 503
            sleep(1.5)  # they look again meanwhile
            office.these.start("redis")
        assert {one.result()["status"] for one in waiting} == {"done"}
        assert list(told)[-1][0] == "done"
    done(office.front, *ids)


@full
def test_when_memory_is_full_new_jobs_are_refused_and_those_that_are_in_are_done(office: Office) -> None:
    with hung(office.predictor):
        ids = hand_in_all(office.front, [SEVEN] * 20)
        bad = hand_in(office.front, poisoned())
        office.redis.config_set("maxmemory", 1)
    try:
        assert submit(office.front).status_code == 503
        done(office.front, *ids)
        assert ended(office.front, bad)["attempts"] == 2
    finally:
        office.redis.config_set("maxmemory", 0)
    done(office.front, hand_in(office.front))


@full
def test_a_proxy_that_is_told_to_end_lets_go_of_those_who_wait(office: Office, tmp_path: Path) -> None:
    port = free_port()
    other = office.these.launch("asynchronous", asynchronous_asynchronous_port=port, asynchronous_port=port)
    wait_until(lambda: is_ready(other))
    with hung(office.predictor), ThreadPoolExecutor(2) as threads:
        job_id = hand_in(other)
        waiting = threads.submit(other.get, f"/jobs/{job_id}?wait=20")
        listening = threads.submit(lambda: [name for name, _ in events(other, job_id)])
        sleep(0.5)
        other.process.terminate()
        assert waiting.result(10).json()["status"] == "queued"
        assert listening.result(10) == ["queued"]
        other.process.wait(10)
    becomes(office.front, job_id, "done")
