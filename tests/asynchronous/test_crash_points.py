"""Wherever a predictor is killed or paused, at the worst instants too, another does its jobs, once (A1)."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from redis import Redis

from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.processes import wait_until
from tests.support.queue.crashing_predictor import POINTS
from tests.support.queue.history import History, each_ended_once
from tests.support.queue.jobs import done, hand_in
from tests.support.redis_servers import OTHERS, RedisServer, redis_server
from tests.support.service_process import Server, is_ready, serving, starting
from tests.support.stack import stack_of

PREDICTOR = "asynchronous.predictor:create_app"
CRASHING = "tests.support.queue.crashing_predictor:create_app"
LEASE_SECONDS = 1.0
SLACK_SECONDS = 1.5
"""After a lease: for the next look, half a second later at most, for the job, and for a busy machine."""


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
@pytest.mark.full
def test_jobs_of_a_killed_predictor_are_done_by_another_within_seconds_of_the_lease(
    valkey: RedisServer, settings: dict[str, object], lease: float
) -> None:
    """The queue is idle by then: only polling finds the jobs."""
    each_crash_is_made_good(valkey, settings, lease)


@pytest.mark.full
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


@pytest.mark.full
def test_the_result_of_a_predictor_after_a_long_pause_changes_nothing(valkey: RedisServer, tmp_path: Path) -> None:
    """It was stopped in the middle of an inference, and another has done the job meanwhile."""
    settings: dict[str, object] = {"redis_url": valkey.url, "lease_seconds": LEASE_SECONDS}
    settings |= {"model_uri": slow_reader(tmp_path / "slow.onnx"), "model_threads": 1}
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
