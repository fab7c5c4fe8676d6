"""A queue in a storm: any of its processes is killed at any moment, while clients submit jobs and fetch them."""

import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event
from typing import Any

from common.training.data import Features, all_scans
from tests.support.processes import free_port, wait_until
from tests.support.queue.history import History
from tests.support.queue.jobs import killed
from tests.support.redis_servers import RedisServer
from tests.support.service_process import Server, is_ready
from tests.support.stack import Stack

LEASE_SECONDS = 1.0
KEYED = 10
"""Every tenth job has an ordering key, one for each client."""


class ProcessKiller:
    """Two predictors, a proxy and a Redis; any of them is killed at any moment, and started again at once."""

    def __init__(self, stack: Stack, redis: RedisServer) -> None:
        self._stack, self._redis = stack, redis
        self._ports = [stack.port("predictor"), free_port()]
        self.logs: list[Path] = []
        self._predictors = [self._predictor(number) for number in range(2)]
        self._proxy()
        self.kills: Counter[str] = Counter()

    def _predictor(self, number: int) -> Server:
        server = self._stack.launch(
            "predictor",
            redis_url=self._redis.url,
            lease_seconds=LEASE_SECONDS,
            max_attempts=1_000,  # however often a predictor ends, no job is given up for it
            asynchronous_predictor_port=self._ports[number],
        )
        self.logs.append(server.log)
        return server

    def _proxy(self) -> None:
        self._stack.launch("asynchronous", redis_url=self._redis.url)

    def wait_until_ready(self) -> None:
        """Until all are ready."""
        wait_until(lambda: all(map(is_ready, [*self._predictors, self._stack.front])), 60)

    def kill_at_random(self, dice: random.Random, pause: tuple[float, float], seconds: float, end: Event) -> None:
        """For so long, and no longer: on a machine that starts processes slowly, clients get through too."""
        over = time.monotonic() + seconds
        while not end.wait(dice.uniform(*pause)) and time.monotonic() < over:
            if victims := self._alive():  # a process that has only just begun goes on, or nothing ever would
                victim = dice.choice(victims)
                self.kills[victim] += 1
                self._kill_and_restart(victim)

    def _alive(self) -> list[str]:
        alive = {"predictor 0": is_ready(self._predictors[0]), "predictor 1": is_ready(self._predictors[1])}
        alive |= {"proxy": is_ready(self._stack.front), "redis": self._redis.answers()}
        return [name for name, lives in alive.items() if lives]

    def _kill_and_restart(self, victim: str) -> None:
        if victim == "redis":
            self._redis.kill()
            self._redis.begin()
        elif victim == "proxy":
            killed(self._stack.front)
            self._proxy()
        else:
            number = int(victim[-1])
            killed(self._predictors[number])
            self._predictors[number] = self._predictor(number)


class Client:
    """Hands jobs in, with a key for each, until each is accepted; now and then looks how one of them is."""

    def __init__(self, front: Server, history: History, jobs: range, seed: str) -> None:
        self._port, self._history, self._jobs, self._seed = front.port, history, jobs, seed
        self._dice = random.Random(f"{seed} {jobs.start}")

    def hand_all_in(self, started: float, seconds: float) -> None:
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=2.5)) as connection:
            for place, number in enumerate(self._jobs):
                time.sleep(max(0.0, started + place * seconds / len(self._jobs) - time.monotonic()))
                self._hand_in(connection, number)
                if self._dice.random() < 0.02:
                    self._hand_in(connection, number)  # a client that has not seen that it was accepted
                if self._dice.random() < 0.3:
                    self._look(connection, self._dice.choice(self._jobs[max(0, place - 200) : place + 1]))

    def _hand_in(self, connection: HTTPConnection, number: int) -> None:
        listening = self._history.connection
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"{self._seed}-{number}"}
        path = f"/jobs?ordering_key=client-{self._jobs.start}" if number % KEYED == 0 else "/jobs"
        while True:
            status, body = ask(connection, "POST", path, picture(number), headers)
            if status == 202:
                return self._history.accept(number, body["job_id"], listening)
            assert status in (None, 429, 503, 504), body
            time.sleep(0.05)

    def _look(self, connection: HTTPConnection, number: int) -> None:
        job_id, started = self._history.accepted[number], time.monotonic()
        status, body = ask(connection, "GET", f"/jobs/{job_id}")
        if status is not None and status != 503:
            self._history.see(job_id, started, status, body)


def ask(
    connection: HTTPConnection, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[Any, Any]:
    """Status and JSON of the answer; None and None if there was none. It costs a fifth of what httpx does."""
    try:
        connection.request(method, path, body, headers or {})
        with connection.getresponse() as answer:
            return answer.status, json.loads(answer.read())
    except (HTTPException, OSError):
        connection.close()  # the next request opens it again
        return None, None


@cache
def scans() -> Features:
    """Read once: that takes longer than all that a client does for a job."""
    return all_scans().features


def picture(number: int) -> bytes:
    """As the JSON of a request."""
    return json.dumps({"pixels": scans()[number % len(scans())].tolist()}).encode()
