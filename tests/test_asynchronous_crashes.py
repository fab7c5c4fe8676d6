"""Whoever is killed, and whenever: no accepted job is lost, and each has one result (A1, and what the queue is for).

Real processes, killed by SIGKILL; what clients and a listener have seen is held against a model of the queue.
"""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import numpy as np
import pytest
from redis import Redis

from common.model import Model
from common.training.data import all_scans
from tests.crashing import POINTS
from tests.processes import free_port, wait_until
from tests.queue_history import History
from tests.redis_servers import OTHERS, RedisServer, redis_server
from tests.servers import MLP, SEVEN_PIXELS, Server, is_ready, serving, slow_pixels, slow_reader, starting
from tests.systems import System, system

PREDICTOR = "asynchronous.predictor:create_app"
LEASE_SECONDS = 1.0
CLIENTS = 4
KEYED = 10
"""Every tenth job has an ordering key, one for each client."""
SLACK_SECONDS = 1.5
"""After a lease: for the next look, half a second later at most, for the job, and for a busy machine."""


# Killed at random


class Storm:
    """Two predictors, a proxy and a Redis; any of them is killed at any moment, and started again at once."""

    def __init__(self, these: System, redis: RedisServer) -> None:
        self._these, self._redis = these, redis
        self._ports = [these.port("predictor"), free_port()]
        self.logs: list[Path] = []
        self._predictors = [self._predictor(number) for number in range(2)]
        self._proxy()
        self.kills: Counter[str] = Counter()

    def _predictor(self, number: int) -> Server:
        server = self._these.launch(
            "predictor",
            redis_url=self._redis.url,
            lease_seconds=LEASE_SECONDS,
            max_attempts=1_000,  # however often a predictor ends, no job shall be given up for it
            asynchronous_predictor_port=self._ports[number],
        )
        self.logs.append(server.log)
        return server

    def _proxy(self) -> None:
        self._these.launch("asynchronous", redis_url=self._redis.url)

    def calm(self) -> None:
        """Until all are ready."""
        wait_until(lambda: all(map(is_ready, [*self._predictors, self._these.front])), 60)

    def rage(self, dice: random.Random, pause: tuple[float, float], seconds: float, end: Event) -> None:
        """For so long, and no longer: on a machine that starts processes slowly, clients shall get through too."""
        over = time.monotonic() + seconds
        while not end.wait(dice.uniform(*pause)) and time.monotonic() < over:
            if victims := self._alive():  # whoever has only just begun may go on, or nothing ever would
                victim = dice.choice(victims)
                self.kills[victim] += 1
                self._strike(victim)

    def _alive(self) -> list[str]:
        alive = {"predictor 0": is_ready(self._predictors[0]), "predictor 1": is_ready(self._predictors[1])}
        alive |= {"proxy": is_ready(self._these.front), "redis": self._redis.answers()}
        return [name for name, lives in alive.items() if lives]

    def _strike(self, victim: str) -> None:
        if victim == "redis":
            self._redis.kill()
            self._redis.begin()
        elif victim == "proxy":
            kill(self._these.front)
            self._proxy()
        else:
            number = int(victim[-1])
            kill(self._predictors[number])
            self._predictors[number] = self._predictor(number)


def kill(server: Server) -> None:
    server.process.kill()
    server.process.wait()


class Client:
    """Hands jobs in, with a key for each, until each is accepted; now and then looks how one of them is."""

    def __init__(self, front: Server, history: History, jobs: range, seed: str) -> None:
        self._url, self._history, self._jobs, self._seed = front.url, history, jobs, seed
        self._dice = random.Random(f"{seed} {jobs.start}")

    def hand_all_in(self, started: float, seconds: float) -> None:
        with httpx.Client(base_url=self._url, timeout=2.5, trust_env=False) as client:
            for place, number in enumerate(self._jobs):
                time.sleep(max(0.0, started + place * seconds / len(self._jobs) - time.monotonic()))
                self._hand_in(client, number)
                if self._dice.random() < 0.02:
                    self._hand_in(client, number)  # a client that has not seen that it was accepted
                if self._dice.random() < 0.3:
                    self._look(client, self._dice.choice(self._jobs[max(0, place - 200) : place + 1]))

    def _hand_in(self, client: httpx.Client, number: int) -> None:
        era = self._history.era
        key = {"Idempotency-Key": f"{self._seed}-{number}"}
        query = {"ordering_key": f"client-{self._jobs.start}"} if number % KEYED == 0 else {}
        while True:
            answer = asked(lambda: client.post("/jobs", json=picture(number), headers=key, params=query))
            if answer is not None and answer.status_code == 202:
                return self._history.accept(number, answer.json()["job_id"], era)
            assert answer is None or answer.status_code in (429, 503, 504), answer.text
            time.sleep(0.05)

    def _look(self, client: httpx.Client, number: int) -> None:
        job_id, started = self._history.accepted[number], time.monotonic()
        answer = asked(lambda: client.get(f"/jobs/{job_id}"))
        if answer is not None and answer.status_code != 503:
            self._history.see(job_id, started, answer.status_code, answer.json())


def asked(ask: Callable[[], httpx.Response]) -> httpx.Response | None:
    """The answer, if there was one."""
    try:
        return ask()
    except httpx.TransportError:
        return None


def picture(number: int) -> dict[str, list[float]]:
    scans = all_scans().features
    return {"pixels": scans[number % len(scans)].tolist()}


@cache
def readings() -> Any:
    """What the model itself makes of every scan."""
    model = Model.load(str(MLP))
    return model.run({"features": all_scans().features.astype(np.float32)})["probabilities"]


def is_the_models_own(job: dict[str, Any], number: int) -> bool:
    expected = readings()[number % len(readings())]
    found = job["prediction"]
    return bool(
        job["status"] == "done"
        and found["digit"] == expected.argmax()
        and np.allclose(found["probabilities"], expected, atol=2e-6)
    )


def nothing_is_lost(these: System, redis: RedisServer, jobs: int, seconds: float, pause: tuple[float, float]) -> None:
    seed = os.environ.get("SEED") or str(random.randrange(10**9))
    print(f"SEED={seed}")
    storm, history, over = Storm(these, redis), History(), Event()
    storm.calm()
    share = jobs // CLIENTS
    clients = [Client(these.front, history, range(n * share, (n + 1) * share), seed) for n in range(CLIENTS)]
    with Redis(port=redis.port) as ear, history.listening(ear), ThreadPoolExecutor(CLIENTS + 1) as threads:
        started = time.monotonic()
        raging = threads.submit(storm.rage, random.Random(seed), pause, seconds, over)
        try:
            for client in [threads.submit(client.hand_all_in, started, seconds) for client in clients]:
                client.result()
        finally:
            over.set()
            raging.result()
        storm.calm()
        wait_until(lambda: redis.client.zcard("asynchronous:open") == 0, 60)
        time.sleep(0.1)  # the last is told
    done = look_at_all(these.front, history)
    took = time.monotonic() - started
    retaken = sum(job["attempts"] > 1 for job in done.values())
    print(f"{len(done):,} jobs in {took:.1f} s, killed: {dict(storm.kills)}, {retaken} jobs were begun more than once")

    assert len(history.accepted) == len(set(history.accepted.values())) == share * CLIENTS
    history.must_be_that_of_a_queue()
    assert set(history.told_done()) <= set(done)
    is_in_order(history, done)
    each_ended_once(redis.client, set(done), storm.logs)


def look_at_all(front: Server, history: History) -> dict[str, dict[str, Any]]:
    """Every accepted job, by id, once nobody is killed any more."""
    found = {}
    with httpx.Client(base_url=front.url, timeout=10, trust_env=False) as client:
        for number, job_id in sorted(history.accepted.items()):
            started = time.monotonic()
            answer = client.get(f"/jobs/{job_id}")
            history.see(job_id, started, answer.status_code, answer.json())
            assert is_the_models_own(answer.json(), number), answer.text
            found[job_id] = answer.json()
    return found


def is_in_order(history: History, done: dict[str, dict[str, Any]]) -> None:
    """Jobs of a client with a key ended one after another, as it had handed them in."""
    share = len(history.accepted) // CLIENTS
    for client in range(CLIENTS):
        numbers = [n for n in range(client * share, (client + 1) * share) if n % KEYED == 0]
        ends = [done[history.accepted[number]]["finished_at"] for number in numbers]
        assert ends == sorted(ends)


def each_ended_once(redis: Redis, ids: set[str], logs: list[Path]) -> None:
    """Nothing is there but these jobs, and each of them came to an end once."""
    kept = {key.decode().rpartition(":")[2] for key in redis.scan_iter("asynchronous:job:*", 1_000)}
    assert kept == ids  # none that no client knows
    ends: Any = redis.xrange("asynchronous:finished")
    assert Counter(fields[b"job_id"].decode() for _, fields in ends) == dict.fromkeys(ids, 1)
    assert redis.xlen("asynchronous:jobs") == 0
    assert redis.xpending("asynchronous:jobs", "predictors")["pending"] == 0
    logged = Counter(line.split()[1] for log in logs for line in done_lines(log))
    assert max(logged.values()) == 1


def done_lines(log: Path) -> Iterator[str]:
    for line in log.read_text().splitlines():
        if ": done" in line:
            yield json.loads(line)["message"]


@pytest.fixture(scope="module")
def valkey() -> Iterator[RedisServer]:
    with redis_server("valkey") as server:
        yield server


@pytest.mark.parametrize(
    ("jobs", "seconds", "pause"),
    [
        pytest.param(100, 2.0, (0.3, 1.0), id="quick"),
        pytest.param(10_000, 60.0, (0.5, 3.0), id="full", marks=[pytest.mark.full, pytest.mark.timeout(300)]),
    ],
)
def test_whoever_is_killed_no_job_is_lost_and_none_has_two_results(
    valkey: RedisServer, jobs: int, seconds: float, pause: tuple[float, float]
) -> None:
    valkey.client.flushall()
    with system("asynchronous") as these:
        nothing_is_lost(these, valkey, jobs, seconds, pause)


@pytest.mark.full
@pytest.mark.parametrize("kind", OTHERS)
def test_nor_is_it_on_other_servers(kind: str) -> None:
    with redis_server(kind) as server, system("asynchronous") as these:
        nothing_is_lost(these, server, 500, 6.0, (0.5, 1.5))


# Killed at the worst instants


@contextmanager
def proxy_of(redis: RedisServer) -> Iterator[Server]:
    redis.client.flushall()
    with system("asynchronous") as these:
        yield these.start("asynchronous", redis_url=redis.url)


def submitted(proxy: Server, body: object) -> str:
    answer = proxy.client.post("/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def done(proxy: Server, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = proxy.get(f"/jobs/{job_id}?wait=20").json()
    assert job["status"] == "done", job
    return job


@pytest.mark.parametrize(
    ("settings", "lease"),
    [
        pytest.param({"lease_seconds": LEASE_SECONDS}, LEASE_SECONDS, id="short lease"),
        pytest.param({}, 5.0, id="lease by default"),
    ],
)
@pytest.mark.full
def test_wherever_a_predictor_is_killed_another_does_its_jobs_within_seconds_of_the_lease(
    valkey: RedisServer, settings: dict[str, object], lease: float
) -> None:
    """The queue is idle by then; nobody but the clock makes anyone look."""
    with ExitStack() as stack:
        proxy = stack.enter_context(proxy_of(valkey))
        history = History()
        stack.enter_context(history.listening(stack.enter_context(Redis(port=valkey.port))))
        settings |= {"redis_url": valkey.url}
        crashing = {
            point: stack.enter_context(starting("tests.crashing:create_app", **settings, crash_at=point))
            for point in POINTS
        }
        healthy = stack.enter_context(starting(PREDICTOR, **settings))
        wait_until(lambda: all(map(is_ready, [healthy, *crashing.values()])))
        ids = []
        while any(server.process.poll() is None for server in crashing.values()):
            ids.append(submitted(proxy, {"pixels": SEVEN_PIXELS}))
            time.sleep(0.01)
        jobs = {job_id: done(proxy, job_id) for job_id in ids}

        for point, server in crashing.items():
            assert server.process.returncode == -signal.SIGKILL
            crash = json.loads(server.log.read_text().splitlines()[-1])
            for job in map(jobs.__getitem__, crash["jobs"]):
                late = datetime.fromisoformat(job["finished_at"]).timestamp() - crash["crashed_at"]
                print(f"killed at {point}: its job was done after {late:.2f} s, attempt {job['attempts']}")
                assert late < lease + SLACK_SECONDS
                assert job["attempts"] == (2 if point in ("claim", "inference") else 1)
                assert (late < 0) == (point == "result")
        assert set(history.told_done().values()) == {1}
        assert all(job["prediction"]["digit"] == 7 for job in jobs.values())
        each_ended_once(valkey.client, set(jobs), [healthy.log])


@pytest.mark.full
def test_what_a_predictor_brings_after_a_long_pause_changes_nothing(valkey: RedisServer, tmp_path: Path) -> None:
    """It was stopped in the middle of an inference, and another has done the job meanwhile."""
    settings: dict[str, object] = {"redis_url": valkey.url, "lease_seconds": LEASE_SECONDS}
    settings |= {"model_uri": slow_reader(tmp_path / "slow.onnx")}
    with proxy_of(valkey) as proxy, serving(PREDICTOR, **settings) as first:
        job_id = submitted(proxy, slow_pixels(0.5))
        wait_until(lambda: proxy.get(f"/jobs/{job_id}").json()["status"] == "running")
        first.process.send_signal(signal.SIGSTOP)
        try:
            with serving(PREDICTOR, **settings):
                job = done(proxy, job_id)
        finally:
            first.process.send_signal(signal.SIGCONT)
        wait_until(lambda: first.metric("jobs_total", outcome="late") == 1)
        assert job["attempts"] == 2
        assert proxy.get(f"/jobs/{job_id}").json() == job
        assert first.metric("jobs_total", outcome="done") == 0
        assert valkey.client.xlen("asynchronous:finished") == 1
