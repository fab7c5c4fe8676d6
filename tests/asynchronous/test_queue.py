"""Whatever calls the queue receives, in whatever order, it does what a simple model of a queue does.

A real server with its own clock; two predictors that may lose what they hold; a lease is over when the test says so.
Retries are due at once, after a moment (the test waits for it), or not while the test runs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar
from uuid import uuid4

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from asynchronous.jobs import ClaimedJob, IdempotencyConflict, NewJob, Outcome, QueueFull
from asynchronous.queue import EVENTS, GROUP, STREAM, JobQueue
from tests.support.queue.model import FIXED, FOREVER, Job, Queue, ids
from tests.support.redis_servers import OTHERS, RedisServer, redis_server

Answer = TypeVar("Answer")

TTL = 1_000
MOST = 12
LONG_MS = 10**9
MOMENT_SECONDS = 0.02
NEVER_SECONDS = 500.0
PREDICTORS = ("one", "two")
ORDERING_KEYS = ("a", "b")

predictors = st.sampled_from(PREDICTORS)
kinds: st.SearchStrategy[Literal["done", "retry", "dead"]] = st.sampled_from(["done", "done", "retry", "dead"])
keys = st.sampled_from(["", "", *ORDERING_KEYS])


class Machine(RuleBasedStateMachine):
    """Calls the queue and the model the same, and compares."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = Redis(port=server.port)
        self.job_queue = JobQueue(self.redis, TTL, TTL)
        self.queue = Queue()
        self.hands: dict[str, dict[bytes, ClaimedJob]] = {name: {} for name in PREDICTORS}
        """What each predictor believes to hold."""

    def run(self, asked: Awaitable[Answer]) -> Answer:
        async def answer() -> Answer:
            return await asked

        return self.runner.run(answer())

    @initialize()
    def begin(self) -> None:
        self.run(self.redis.flushdb())
        self.run(self.job_queue.open())
        self.channel = self.redis.pubsub(ignore_subscribe_messages=True)
        self.run(self.channel.subscribe(EVENTS))
        self.run(self.channel.get_message(timeout=1.0))

    def teardown(self) -> None:
        async def close() -> None:
            if hasattr(self, "channel"):
                await self.channel.aclose()  # type: ignore[no-untyped-call]
            await self.redis.aclose()

        self.run(close())
        self.runner.close()

    def any_job(self, data: st.DataObject, of: Callable[[Job], bool] = lambda job: True) -> Job:
        return data.draw(st.sampled_from([job for job in self.queue.jobs.values() if of(job)]))

    # Submitting, cancelling

    @rule(
        ordering_key=keys, idempotency_key=st.sampled_from(["", "", "i", "j"]), digest=st.sampled_from(["x", "x", "y"])
    )
    def submit(self, ordering_key: str, idempotency_key: str, digest: str) -> None:
        queue, job_id = self.queue, str(uuid4())
        job = Job(job_id, ordering_key, payload=job_id.encode())
        seen = queue.by_idempotency_key.get(idempotency_key)
        asked = self.job_queue.submit(job_id, NewJob(job.payload, ordering_key, idempotency_key, digest), MOST)
        if seen and seen[1] != digest:
            with pytest.raises(IdempotencyConflict):
                self.run(asked)
        elif seen:
            assert self.run(asked) == seen[0]
        elif queue.open >= MOST:
            with pytest.raises(QueueFull):
                self.run(asked)
        else:
            assert self.run(asked) == job_id
            queue.jobs[job_id] = job
            queue.joins(job)
            if idempotency_key:
                queue.by_idempotency_key[idempotency_key] = (job_id, digest)

    @precondition(lambda self: self.queue.jobs)
    @rule(data=st.data())
    def submit_once_more_after_a_broken_connection(self, data: st.DataObject) -> None:
        job = self.any_job(data)
        asked = self.job_queue.submit(job.id, NewJob(b"other", job.ordering_key), MOST)
        assert self.run(asked) == job.id

    @precondition(lambda self: self.queue.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        queue, job = self.queue, self.any_job(data)
        found = self.run(self.job_queue.cancel(job.id, "cancelled"))
        if job.status != "queued":
            assert found == job.status
            return
        assert found == "cancelled"
        job.error = "cancelled"
        queue.delayed.pop(job.id, None)
        queue.ready = [other for other in queue.ready if other is not job]
        queue.becomes(job, "failed")

    @rule()
    def cancel_what_never_was(self) -> None:
        assert self.run(self.job_queue.cancel(str(uuid4()), "cancelled")) is None

    # Doing

    @rule(predictor=predictors, count=st.integers(1, 4))
    def claim(self, predictor: str, count: int) -> None:
        expected, self.queue.ready = self.queue.ready[:count], self.queue.ready[count:]
        self.begun(predictor, self.run(self.job_queue.claim(predictor, count, 1)), expected)

    @rule(predictor=predictors, count=st.integers(1, 4), is_over=st.booleans())
    def claim_expired(self, predictor: str, count: int, is_over: bool) -> None:
        """Every lease is over, or none is."""
        expected = [job for job, _ in self.queue.held.values()][:count] if is_over else []
        found = self.run(self.job_queue.claim_expired(predictor, count, 0 if is_over else LONG_MS))
        self.begun(predictor, found, expected)

    def begun(self, predictor: str, found: list[ClaimedJob], expected: list[Job]) -> None:
        for job in expected:
            job.attempts += 1
            self.queue.becomes(job, "running")
        assert [(c.job_id, c.attempts, c.payload) for c in found] == [(j.id, j.attempts, j.payload) for j in expected]
        for claimed, job in zip(found, expected, strict=True):
            self.queue.held[claimed.entry] = (job, predictor)
            self.hands[predictor][claimed.entry] = claimed

    @rule(predictor=predictors)
    def renew_leases(self, predictor: str) -> None:
        entries = list(self.hands[predictor])
        lost = {entry for entry in entries if not self.holds(predictor, entry)}
        assert self.run(self.job_queue.renew_leases(predictor, entries)) == lost
        self.hands[predictor] = {e: claimed for e, claimed in self.hands[predictor].items() if e not in lost}

    @precondition(lambda self: any(self.hands.values()))
    @rule(data=st.data(), predictor=predictors)
    def complete(self, data: st.DataObject, predictor: str) -> None:
        """Some of what a predictor believes to hold, also what another has taken or ended meanwhile."""
        hand = self.hands[predictor]
        chosen = data.draw(st.lists(st.sampled_from(sorted(hand)), max_size=4, unique=True)) if hand else []
        wait = data.draw(st.sampled_from([0.0, MOMENT_SECONDS, NEVER_SECONDS]))
        before = self.server_time()
        outcomes = [
            Outcome(hand[entry], data.draw(kinds), f"of {predictor}", hand[entry].attempts, wait) for entry in chosen
        ]
        ours = {entry for entry in chosen if self.holds(predictor, entry)}
        assert self.run(self.job_queue.complete_jobs(predictor, outcomes)) == ours
        due = before + wait, self.server_time() + wait
        for outcome in outcomes:
            del hand[outcome.job.entry]
            if outcome.job.entry in ours:
                self.queue.complete(outcome, due)

    def holds(self, predictor: str, entry: bytes) -> bool:
        return entry in self.queue.held and self.queue.held[entry][1] == predictor

    @rule(predictor=predictors)
    def predictor_is_killed(self, predictor: str) -> None:
        """What it held is claimed when its lease is over."""
        self.hands[predictor].clear()

    @rule(predictor=predictors)
    def enqueue_due_retries(self, predictor: str) -> None:
        """What is due in a moment is waited for, so that no job comes due while this asks."""
        soon = [latest for _, latest in self.queue.delayed.values() if latest < self.server_time() + NEVER_SECONDS / 2]
        time.sleep(max(0.0, max(soon, default=0.0) - self.server_time()))
        now = self.server_time()
        for _, job_id in sorted((at, job_id) for job_id, (_, at) in self.queue.delayed.items() if at <= now):
            del self.queue.delayed[job_id]
            self.queue.ready.append(self.queue.jobs[job_id])
        assert self.run(self.job_queue.enqueue_due_retries(predictor)) == self.queue.open

    def server_time(self) -> float:
        seconds, microseconds = self.run(self.redis.time())
        return float(seconds) + microseconds / 1e6

    @precondition(lambda self: self.queue.jobs)
    @rule(data=st.data())
    def retry_dead_letter(self, data: st.DataObject) -> None:
        job = self.any_job(data)
        assert self.run(self.job_queue.retry_dead_letter(job.id)) == job.is_dead
        if job.is_dead:
            job.is_dead, job.error, job.attempts = False, None, 0
            self.queue.dead.remove(job)
            self.queue.becomes(job, "queued")
            self.queue.joins(job)

    @rule()
    def remove_idle_consumers(self) -> None:
        self.run(self.job_queue.remove_idle_consumers(-1))
        known = self.run(self.redis.xinfo_consumers(STREAM, GROUP))
        assert {str(one["name"], "ascii") for one in known} == {predictor for _, predictor in self.queue.held.values()}

    # What must be the same at any time

    @invariant()
    def the_server_holds_what_the_model_holds(self) -> None:
        """Everything is read in one step, and so are the events."""
        found, published = self.run(self._look())
        self._is_right(*found)
        self.queue.events, expected = [], self.queue.events
        assert sorted(published) == sorted(expected)

    async def _look(self) -> tuple[list[Any], list[str]]:
        async with self.redis.pipeline(transaction=True) as asked:
            asked.xrange(STREAM)
            asked.xpending_range(STREAM, GROUP, "-", "+", 1_000)
            asked.zrange("asynchronous:delayed", 0, -1, withscores=True)
            asked.zcard("asynchronous:open")
            asked.xlen("asynchronous:finished")
            asked.xrevrange("asynchronous:dead-letters")
            asked.eval(FOREVER, 0)
            for key in ORDERING_KEYS:
                asked.lrange(f"asynchronous:order:{key}", 0, -1)
            for job_id in self.queue.jobs:
                asked.hgetall(f"asynchronous:job:{job_id}")
            found: list[Any] = await asked.execute()
        await self.channel.ping("all received")
        published: list[str] = []
        while (message := await self.channel.get_message(timeout=5.0)) and message["type"] != "pong":
            published += message["data"].decode().splitlines()
        return found, published

    def _is_right(
        self, stream: Any, pending: Any, delayed: Any, opened: Any, ends: Any, letters: Any, forever: Any, *more: Any
    ) -> None:
        queue = self.queue
        held = {entry["message_id"]: entry["consumer"].decode() for entry in pending}
        assert held == {entry: predictor for entry, (_, predictor) in queue.held.items()}
        assert [fields[b"job_id"].decode() for entry, fields in stream if entry not in held] == ids(queue.ready)
        assert len(stream) == len(queue.held) + len(queue.ready)
        queue.held = {entry: queue.held[entry] for entry in held}  # in their order
        assert {member.decode()[:36] for member, _ in delayed} == set(queue.delayed)
        for member, due in delayed:
            earliest, latest = queue.delayed[member.decode()[:36]]
            assert earliest - 1e-6 <= due <= latest + 1e-6
            queue.delayed[member.decode()[:36]] = due, due
        assert (int(opened or 0), ends) == (queue.open, queue.ends)
        found = [(fields[b"job_id"], fields[b"payload"], fields[b"error"]) for _, fields in letters]
        assert found == [(job.id.encode(), job.payload, as_bytes(job.error)) for job in queue.dead]
        assert {key.decode() for key in forever} <= FIXED

        lines, jobs = more[: len(ORDERING_KEYS)], more[len(ORDERING_KEYS) :]
        for key, line in zip(ORDERING_KEYS, lines, strict=True):
            expected = queue.lines.get(key, [])
            assert [job_id.decode() for job_id in line] == ids(expected)
            assert all(job.status == "queued" for job in expected[1:])  # one after another
        for job, fields in zip(queue.jobs.values(), jobs, strict=True):
            self._is_as_in_the_model(job, fields)

    def _is_as_in_the_model(self, job: Job, fields: dict[bytes, bytes]) -> None:
        shown = (fields[b"status"].decode(), int(fields[b"attempts"]), fields.get(b"error"), fields.get(b"prediction"))
        assert shown == (job.status, job.attempts, as_bytes(job.error), as_bytes(job.prediction))
        assert fields.get(b"payload") == (None if job.ended else job.payload)  # a dead letter has it in its stream
        assert (float(fields[b"finished_at"]) <= time.time()) if job.ended else b"finished_at" not in fields


def as_bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def compare(server: RedisServer, examples: int, steps: int) -> None:
    options = settings(max_examples=examples, stateful_step_count=steps)
    run_state_machine_as_test(lambda: Machine(server), settings=options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("examples", "steps"),
    [
        pytest.param(8, 25, id="quick"),
        pytest.param(50, 40, id="full", marks=[pytest.mark.full, pytest.mark.timeout(600)]),
    ],
)
def test_the_queue_does_what_its_model_does(valkey: RedisServer, examples: int, steps: int) -> None:
    compare(valkey, examples, steps)


@pytest.mark.full
@pytest.mark.parametrize("kind", OTHERS)
def test_the_queue_does_what_its_model_does_on_other_servers(kind: str) -> None:
    with redis_server(kind) as server:
        compare(server, 12, 30)
