"""A predictor holds its jobs by a lease: killed or paused, at the worst instants too, another does them, once (A1).

And a predictor that lives keeps its lease for as long as its jobs take.
"""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from time import monotonic
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from asynchronous.jobs import NewJob
from asynchronous.queue import PREDICTORS, JobQueue
from tests.support.models.onnx_models import slow_pixels
from tests.support.processes import wait_until
from tests.support.queue.crashing_predictor import POINTS
from tests.support.queue.history import History, each_ended_once
from tests.support.queue.jobs import (
    SHORT_LEASE,
    becomes,
    done,
    hand_in,
    hung,
    killed,
    look,
    moment,
    predictors,
)
from tests.support.redis_servers import OTHERS, RedisServer, redis_server
from tests.support.service_process import Server, is_ready, serving, starting
from tests.support.stack import Stack, asynchronous_stack, stack_of

pytestmark = pytest.mark.full  # the quick suite has a taste of it in test_queue.py
PREDICTOR = "asynchronous.predictor:create_app"
CRASHING = "tests.support.queue.crashing_predictor:create_app"
LEASE_SECONDS = 1.0
SLACK_SECONDS = 1.5
"""After a lease: for the next look, half a second later at most, for the job, and for a busy machine."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """No predictor runs but those that a test starts."""
    with asynchronous_stack({}) as stack:
        yield stack


@contextmanager
def proxy_of(redis: RedisServer) -> Iterator[Server]:
    redis.client.flushall()
    with stack_of("asynchronous") as stack:
        yield stack.start("asynchronous", redis_url=redis.url)


@pytest.mark.parametrize(
    ("settings", "lease"),
    [
        pytest.param({"lease_seconds": LEASE_SECONDS}, LEASE_SECONDS, id="short lease"),
        pytest.param({}, 5.0, id="lease by default"),
    ],
)
def test_jobs_of_a_killed_predictor_are_done_by_another_within_seconds_of_the_lease(
    valkey: RedisServer, settings: dict[str, object], lease: float
) -> None:
    """The queue is idle by then: only polling finds the jobs."""
    each_crash_is_made_good(valkey, settings, lease)


@pytest.mark.parametrize("kind", OTHERS)
def test_jobs_of_a_killed_predictor_are_done_by_another_on_other_servers(kind: str) -> None:
    with redis_server(kind) as server:
        each_crash_is_made_good(server, {"lease_seconds": LEASE_SECONDS}, LEASE_SECONDS)


def each_crash_is_made_good(redis: RedisServer, settings: dict[str, object], lease: float) -> None:
    with ExitStack() as exit_stack:
        proxy = exit_stack.enter_context(proxy_of(redis))
        history = History()
        exit_stack.enter_context(history.listening(exit_stack.enter_context(Redis(port=redis.port))))
        settings |= {"redis_url": redis.url}
        crashing = {
            point: exit_stack.enter_context(
                starting("tests.support.queue.crashing_predictor:create_app", **settings, crash_at=point)
            )
            for point in POINTS
        }
        healthy = exit_stack.enter_context(starting(PREDICTOR, **settings))
        wait_until(lambda: all(map(is_ready, [healthy, *crashing.values()])))
        ids = []
        while any(server.process.poll() is None for server in crashing.values()):
            ids.append(hand_in(proxy))
            time.sleep(0.01)
        jobs = dict(zip(ids, done(proxy, *ids), strict=True))

        for point, server in crashing.items():
            assert server.process.returncode == -signal.SIGKILL
            crash = json.loads(server.log.read_text().splitlines()[-1])
            for job in map(jobs.__getitem__, crash["jobs"]):
                late = datetime.fromisoformat(job["finished_at"]).timestamp() - crash["crashed_at"]
                print(f"killed at {point}: its job was done after {late:.2f} s, attempt {job['attempts']}")
                assert late < lease + SLACK_SECONDS
                assert job["attempts"] == (2 if point in ("claim", "inference") else 1)
                assert (late < 0) == (point == "result")
        assert set(history.published_done().values()) == {1}
        assert all(job["prediction"]["digit"] == 7 for job in jobs.values())
        each_ended_once(redis.client, set(jobs), [healthy.log])


def test_the_result_of_a_predictor_after_a_long_pause_changes_nothing(valkey: RedisServer, slow_model: str) -> None:
    """It was stopped in the middle of an inference, and another has done the job meanwhile."""
    settings: dict[str, object] = {"redis_url": valkey.url, "lease_seconds": LEASE_SECONDS}
    settings |= {"model_uri": slow_model, "batching": "on", "model_threads": 1}
    with proxy_of(valkey) as proxy, serving(PREDICTOR, **settings) as first:
        job_id = hand_in(proxy, slow_pixels(1.5))
        wait_until(lambda: proxy.get(f"/jobs/{job_id}").json()["status"] == "running")
        first.process.send_signal(signal.SIGSTOP)
        try:
            with serving(PREDICTOR, **settings):
                (job,) = done(proxy, job_id)
        finally:
            first.process.send_signal(signal.SIGCONT)
        wait_until(lambda: first.metric("jobs_total", outcome="lost_lease") == 1)
        assert job["attempts"] == 2
        assert proxy.get(f"/jobs/{job_id}").json() == job
        assert first.metric("jobs_total", outcome="done") == 0
        assert valkey.client.xlen("asynchronous:finished") == 1


def test_the_job_of_a_killed_predictor_is_done_by_another_within_seconds(stack: Stack, slow_model: str) -> None:
    """Nothing else comes into the queue meanwhile."""
    with predictors(stack, 1, model_uri=slow_model, batching="on", **SHORT_LEASE) as (first,):
        job_id = hand_in(stack.front, slow_pixels(15))
        becomes(stack.front, job_id, "running")
        with predictors(stack, 1, **SHORT_LEASE):  # to which no picture is slow
            killed(first)
            began = monotonic()
            (job,) = done(stack.front, job_id)
            assert job["attempts"] == 2
            assert monotonic() - began < 0.8 + 5


def test_a_job_that_takes_longer_than_a_lease_is_done_once_by_a_predictor_that_lives(
    stack: Stack, slow_model: str
) -> None:
    with predictors(stack, 2, model_uri=slow_model, batching="on", **SHORT_LEASE) as servers:
        (job,) = done(stack.front, hand_in(stack.front, slow_pixels(3)))
        assert job["attempts"] == 1
        assert (moment(job, "finished") - moment(job, "started")).total_seconds() > 1.5
        assert sum(server.metric("batch_rows_sum") for server in servers) == 1
        wait_until(lambda: sum(server.metric("jobs_total") for server in servers) == 1)  # counted a moment later


def test_a_predictor_with_long_leases_counts_as_alive_while_it_works(stack: Stack, slow_model: str) -> None:
    """It renews them every 2.5 s, however long they are: after ten seconds of silence it would count as dead."""
    with predictors(stack, 1, model_uri=slow_model, batching="on", lease_seconds=60):
        job_id = hand_in(stack.front, slow_pixels(5))
        becomes(stack.front, job_id, "running")
        store, silent = stack.store(), list[float]()
        while look(stack.front, job_id)["status"] == "running":
            signs: Any = store.zrange(PREDICTORS, 0, -1, withscores=True)
            silent.append(time.time() - max(at for _, at in signs))
            time.sleep(0.05)
        assert 1 < max(silent) < 4


def test_a_predictor_that_was_paused_for_longer_than_its_lease_changes_no_result(stack: Stack, slow_model: str) -> None:
    with predictors(stack, 1, model_uri=slow_model, batching="on", **SHORT_LEASE) as (paused,):
        job_id = hand_in(stack.front, slow_pixels(1))
        becomes(stack.front, job_id, "running")
        with hung(paused), predictors(stack, 1, model_uri=slow_model, batching="on", **SHORT_LEASE):
            (job,) = done(stack.front, job_id)
        wait_until(lambda: paused.metric("jobs_total", outcome="lost_lease") == 1)
        assert look(stack.front, job_id) == job
        assert job["attempts"] == 2


def test_a_predictor_finishes_its_jobs_after_sigterm(stack: Stack, slow_model: str) -> None:
    with predictors(stack, 1, model_uri=slow_model, batching="on", **SHORT_LEASE) as (server,):
        job_id = hand_in(stack.front, slow_pixels(1.5))
        becomes(stack.front, job_id, "running")
        server.process.terminate()
        server.process.wait(20)
        job = look(stack.front, job_id)
        assert (job["status"], job["attempts"]) == ("done", 1)


def test_a_dead_predictors_job_is_found_behind_many_that_others_hold(stack: Stack) -> None:
    """The queue's own functions: 30 jobs are held by one that lives, the 31st by one that is dead."""

    async def go() -> None:
        async with AsyncRedis(port=stack.port("redis"), db=1) as redis:  # the scripts' keys, where no predictor looks
            queue = JobQueue(redis, 100, 100)
            await queue.open()
            for number in range(31):
                await queue.submit(f"job-{number}", NewJob(b""), 100)
            held = await queue.claim("alive", 30, 100)
            (lost,) = await queue.claim("dead", 30, 100)
            await asyncio.sleep(0.3)
            await queue.renew_leases("alive", [job.entry for job in held])
            found = await queue.claim_expired("another", 1, 200)
            assert [job.job_id for job in found] == [lost.job_id]

    asyncio.run(go())
