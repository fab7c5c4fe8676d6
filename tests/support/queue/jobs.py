"""The asynchronous pattern for a test; jobs as its clients have them: submitted, polled, fetched."""

import signal
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import httpx
from redis import Redis

from tests.support.http.sse import events_of
from tests.support.processes import free_port, wait_until
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server, is_ready
from tests.support.stack import Stack, asynchronous_stack

SHORT_LEASE: dict[str, Any] = {"lease_seconds": 0.8, "backoff_seconds": 0.1, "model_threads": 1}
"""A predictor that loses patience soon, and to which a slow picture takes as long as it says."""
TWO_ATTEMPTS: dict[str, Any] = {"max_attempts": 2, "backoff_seconds": 0.05}
"""A predictor that tries a job once more, and then gives it up."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The proxy, a predictor, and their Redis."""

    stack: Stack
    front: Server
    predictor: Server
    redis: Redis


@contextmanager
def deployment_with(**predictor: object) -> Iterator[Deployment]:
    """Once all are ready; settings of the predictor."""
    with asynchronous_stack({"predictor": predictor}) as stack:
        yield Deployment(stack, stack.front, stack.servers["predictor"], stack.store())


def submit(
    front: Server, body: object = SEVEN_JSON, headers: dict[str, str] | None = None, **query: str
) -> httpx.Response:
    """The answer to a job that is submitted."""
    return front.client.post("/jobs", json=body, headers=headers, params=query)


def hand_in(front: Server, body: object = SEVEN_JSON, headers: dict[str, str] | None = None, **query: str) -> str:
    """The id of a job that is accepted."""
    answer = submit(front, body, headers, **query)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def hand_in_all(front: Server, bodies: Sequence[object], at_once: int = 8) -> list[str]:
    """The ids of jobs that are accepted, in the same order."""
    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(lambda body: hand_in(front, body), bodies))


def look(front: Server, job_id: str) -> Any:
    """A job as it is now."""
    answer = front.get(f"/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def ended(front: Server, job_id: str) -> Any:
    """A job once it has ended."""
    answer = front.get(f"/jobs/{job_id}?wait=20")
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] in ("done", "failed"), answer.text
    return answer.json()


def done(front: Server, *job_ids: str) -> list[Any]:
    """These jobs once they are done, each with its seven."""
    jobs = [ended(front, job_id) for job_id in job_ids]
    assert [(job["status"], (job["prediction"] or {}).get("digit")) for job in jobs] == [("done", 7)] * len(jobs)
    return jobs


def looks(redis: Redis) -> int:
    """How often a job has been fetched: a client that waits for one has fetched once."""
    stats: Any = redis.info("commandstats")
    return int(stats.get("cmdstat_hgetall", {"calls": 0})["calls"])


def becomes(front: Server, job_id: str, status: str) -> None:
    """Wait for this state."""
    wait_until(lambda: look(front, job_id)["status"] == status)


def events(front: Server, job_id: str) -> Iterator[tuple[str, Any]]:
    """The events of a job, as they come, until the stream ends."""
    with front.client.stream("GET", f"/jobs/{job_id}/events") as answer:
        yield from events_of(answer)


def dead_letters(front: Server) -> dict[str, Any]:
    """Those that there are, by job."""
    return {letter["job_id"]: letter for letter in front.get("/dead-letters?count=1000").json()}


def retry(front: Server, job_id: str) -> httpx.Response:
    """The answer to a dead letter that is to be done again."""
    return front.client.post(f"/dead-letters/{job_id}/retry")


def moment(job: Any, name: str) -> datetime:
    """When it was `submitted`, `started` or `finished`."""
    return datetime.fromisoformat(job[f"{name}_at"])


@contextmanager
def hung(*servers: Server) -> Iterator[None]:
    """They stand still as long as the block."""
    for server in servers:
        server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for server in servers:
            server.process.send_signal(signal.SIGCONT)


def killed(server: Server) -> None:
    """SIGKILL, and it is gone."""
    server.process.kill()
    server.process.wait(10)


def another_proxy(stack: Stack, **settings: object) -> Server:
    """One more, on a port of its own; it may not be ready yet."""
    port = free_port()
    return stack.launch("asynchronous", asynchronous_asynchronous_port=port, asynchronous_port=port, **settings)


def another_predictor(stack: Stack, *, app: str = "", **settings: object) -> Server:
    """One more, on a port of its own; it may not be ready yet."""
    return stack.launch("predictor", app=app, **{"asynchronous_predictor_port": free_port(), **settings})


@contextmanager
def predictors(stack: Stack, count: int = 1, *, app: str = "", **settings: object) -> Iterator[list[Server]]:
    """So many, once they are ready, until the end of the block."""
    servers = [another_predictor(stack, app=app, **settings) for _ in range(count)]
    try:
        for server in servers:
            wait_until(partial(is_ready, server))
        yield servers
    finally:
        for server in servers:
            server.process.terminate()
        for server in servers:
            server.process.wait(20)


def open_waits(port: int, job_id: str, count: int, path: str = "?wait=20") -> list[socket.socket]:
    """So many clients that wait for a job; closing a socket makes its client leave."""
    sockets = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(f"GET /jobs/{job_id}{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        sockets.append(client)
    return sockets
