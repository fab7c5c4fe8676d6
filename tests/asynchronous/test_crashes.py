"""Processes are killed at any moment: no accepted job is lost, and each has one result (A1).

Real processes, killed by SIGKILL; what clients and a listener have seen is held against a model of the queue.
"""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from http.client import HTTPConnection
from threading import Event
from typing import Any

import numpy as np
import pytest
from redis import Redis

from common.inference.model import Model
from tests.support.load.chaos import KEYED, Client, ProcessKiller, ask, scans
from tests.support.processes import wait_until
from tests.support.queue.history import History, each_ended_once
from tests.support.redis_servers import OTHERS, RedisServer, redis_server
from tests.support.samples import MLP
from tests.support.service_process import Server
from tests.support.stack import Stack, stack_of

CLIENTS = 4


@cache
def readings() -> Any:
    """What the model itself makes of every scan."""
    model = Model.load(str(MLP))
    return model.run({"features": scans()})["probabilities"]


def is_the_models_own(job: dict[str, Any], number: int) -> bool:
    expected = readings()[number % len(readings())]
    found = job["prediction"]
    return bool(
        job["status"] == "done"
        and found["digit"] == expected.argmax()
        and np.allclose(found["probabilities"], expected, atol=2e-6)
    )


def nothing_is_lost(stack: Stack, redis: RedisServer, jobs: int, seconds: float, pause: tuple[float, float]) -> None:
    seed = os.environ.get("SEED") or str(random.randrange(10**9))
    print(f"SEED={seed}")
    killer, history, over = ProcessKiller(stack, redis), History(), Event()
    killer.wait_until_ready()
    share = jobs // CLIENTS
    clients = [Client(stack.front, history, range(n * share, (n + 1) * share), seed) for n in range(CLIENTS)]
    with Redis(port=redis.port) as ear, history.listening(ear), ThreadPoolExecutor(CLIENTS + 1) as threads:
        started = time.monotonic()
        raging = threads.submit(killer.kill_at_random, random.Random(seed), pause, seconds, over)
        try:
            for client in [threads.submit(client.hand_all_in, started, seconds) for client in clients]:
                client.result()
        finally:
            over.set()
            raging.result()
        killer.wait_until_ready()
        wait_until(lambda: redis.client.zcard("asynchronous:open") == 0, 60)
        time.sleep(0.1)  # the last event arrives
    done = look_at_all(stack.front, history)
    took = time.monotonic() - started
    retaken = sum(job["attempts"] > 1 for job in done.values())
    print(f"{len(done):,} jobs in {took:.1f} s, killed: {dict(killer.kills)}, {retaken} jobs were begun more than once")

    assert len(history.accepted) == len(set(history.accepted.values())) == share * CLIENTS
    history.must_be_that_of_a_queue()
    assert set(history.published_done()) <= set(done)
    is_in_order(history, done)
    each_ended_once(redis.client, set(done), killer.logs)


def look_at_all(front: Server, history: History) -> dict[str, dict[str, Any]]:
    """Every accepted job, by id, once no process is killed any more."""
    found = {}
    with closing(HTTPConnection("127.0.0.1", front.port, timeout=10)) as connection:
        for number, job_id in sorted(history.accepted.items()):
            started = time.monotonic()
            status, job = ask(connection, "GET", f"/jobs/{job_id}")
            history.see(job_id, started, status, job)
            assert is_the_models_own(job, number), job
            found[job_id] = job
    return found


def is_in_order(history: History, done: dict[str, dict[str, Any]]) -> None:
    """Jobs of a client with a key ended one after another, as it had handed them in."""
    share = len(history.accepted) // CLIENTS
    for client in range(CLIENTS):
        numbers = [n for n in range(client * share, (client + 1) * share) if n % KEYED == 0]
        ends = [done[history.accepted[number]]["finished_at"] for number in numbers]
        assert ends == sorted(ends)


@pytest.mark.parametrize(
    ("jobs", "seconds", "pause"),
    [
        pytest.param(100, 2.0, (0.3, 1.0), id="quick"),
        pytest.param(10_000, 60.0, (0.5, 3.0), id="full", marks=[pytest.mark.full, pytest.mark.timeout(600)]),
    ],
)
def test_no_job_is_lost_and_none_has_two_results_when_processes_are_killed(
    valkey: RedisServer, jobs: int, seconds: float, pause: tuple[float, float]
) -> None:
    valkey.client.flushall()
    with stack_of("asynchronous") as stack:
        nothing_is_lost(stack, valkey, jobs, seconds, pause)


@pytest.mark.full
@pytest.mark.parametrize("kind", OTHERS)
def test_no_job_is_lost_on_other_servers_when_processes_are_killed(kind: str) -> None:
    with redis_server(kind) as server, stack_of("asynchronous") as stack:
        nothing_is_lost(stack, server, 500, 6.0, (0.5, 1.5))
