"""What was seen of a queue from outside, and whether a queue that loses nothing can look like this."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import Any

from redis import Redis, RedisError

from asynchronous.queue import EVENTS

CHANGES = {"queued": ("running",), "running": ("running", "done"), "done": ()}
"""What may come after what, where no job fails and none is cancelled; `running` twice: another has taken it over."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A job as it was shown, at some instant between these two."""

    asked: float
    answered: float
    job: dict[str, Any]


@dataclass
class History:
    """Of all jobs of a test; several threads write it."""

    accepted: dict[int, str] = field(default_factory=dict)
    """The id by the number that its client gives to a job."""
    accepted_in: dict[str, int] = field(default_factory=dict)
    published: list[tuple[int, str, str]] = field(default_factory=list)
    """Changes as Redis published them: connection, id, status. Between two connections some may be lost."""
    sightings: dict[str, list[Sighting]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    connection: int = 0
    _lock: Lock = field(default_factory=Lock)

    def accept(self, number: int, job_id: str, connection: int) -> None:
        """202, perhaps once more for the same job; `connection` is that in which it was first sent."""
        with self._lock:
            if self.accepted.setdefault(number, job_id) != job_id:
                self.wrong.append(f"job {number} was accepted as {self.accepted[number]} and as {job_id}")
            self.accepted_in.setdefault(job_id, connection)

    def see(self, job_id: str, asked: float, status: int, job: dict[str, Any]) -> None:
        """What GET answered for a job that was accepted."""
        with self._lock:
            if status != 200:
                self.wrong.append(f"{job_id} was accepted, and then: {status}")
            else:
                self.sightings.setdefault(job_id, []).append(Sighting(asked, monotonic(), job))

    @contextmanager
    def listening(self, redis: Redis) -> Iterator[None]:
        """Record what Redis publishes, while there is a connection."""
        ending, subscribed = Event(), Event()

        def listen() -> None:
            while not ending.is_set():
                try:
                    with redis.pubsub() as channel:  # type: ignore[no-untyped-call]
                        channel.subscribe(EVENTS)
                        while not ending.is_set():
                            self._receive(channel.get_message(timeout=0.1), subscribed)
                except (RedisError, OSError):
                    sleep(0.02)

        thread = Thread(target=listen)
        thread.start()
        assert subscribed.wait(10)
        try:
            yield
        finally:
            ending.set()
            thread.join()

    def _receive(self, message: Any, subscribed: Event) -> None:
        if message and message["type"] == "subscribe":
            self.connection += 1
            subscribed.set()
        elif message:
            self.published += [(self.connection, *line.split(" ")) for line in message["data"].decode().splitlines()]

    def must_be_that_of_a_queue(self) -> None:
        """Each job's changes and sightings are a way through the model's states, never back from an end."""
        wrong = [*self.wrong, *self._wrong_changes()]
        for job_id, sightings in self.sightings.items():
            wrong += _wrong_sightings(job_id, sorted(sightings, key=lambda sighting: sighting.answered))
        assert not wrong, "\n".join(wrong[:20])

    def _wrong_changes(self) -> Iterator[str]:
        state: dict[str, tuple[int, str]] = {}
        for connection, job_id, status in self.published:
            since, before = state.get(job_id) or (self.accepted_in.get(job_id, -1), "queued")
            missed_something = since != connection and before != "done"
            if status not in CHANGES[before] and not missed_something:
                yield f"{job_id} was published as {status} after {before}"
            state[job_id] = (connection, status)

    def published_done(self) -> Counter[str]:
        return Counter(job_id for _, job_id, status in self.published if status == "done")


def _wrong_sightings(job_id: str, sightings: list[Sighting]) -> Iterator[str]:
    for number, earlier in enumerate(sightings):
        for later in sightings[number + 1 :]:
            if later.asked < earlier.answered:
                continue  # at the same time: either may have been first
            if earlier.job["status"] == "done" and later.job != earlier.job:
                yield f"{job_id} was done, and changed: {earlier.job}, {later.job}"
            if later.job["attempts"] < earlier.job["attempts"]:
                yield f"{job_id} had {earlier.job['attempts']} attempts, and then {later.job['attempts']}"
            if earlier.job["status"] == "running" and later.job["status"] == "queued":
                yield f"{job_id} was running, and then queued"


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
