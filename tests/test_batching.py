"""Batching: nothing lost, doubled, reordered or over the bounds, and no inference for a caller who is late or gone.

The model here doubles numbers; in a worker thread it waits at a gate, so that each test says when a batch ends.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from common.batch import Prediction
from common.batching import Batcher
from common.errors import ClientLeft, Problem
from common.model import Tensors

MAX_BATCH, MAX_QUEUE = 4, 8
FAR = 60.0
Future = asyncio.Future[Prediction]


class Refusing(Exception):
    """What the model raises for a negative number."""


@dataclass
class Gated:
    """A model that notes what it runs, and ends no run before it is let through."""

    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    started: list[list[int]] = field(default_factory=list)

    def run(self, inputs: Tensors) -> Tensors:
        numbers = inputs["x"].tolist()
        self.started.append(numbers)
        assert self.gate.acquire(timeout=20)
        if min(numbers) < 0:
            raise Refusing(str(numbers))
        return {"y": inputs["x"] * 2}

    def open(self) -> None:
        self.gate.release(10_000)


@contextmanager
def batcher(*, inline: bool = False, open: bool = False) -> Iterator[tuple[Batcher, Gated]]:
    model = Gated()
    if open or inline:
        model.open()
    try:
        yield Batcher(model.run, max_batch_rows=MAX_BATCH, max_queue_rows=MAX_QUEUE, inline=inline), model
    finally:
        model.open()


def submit(to: Batcher, *numbers: int, seconds: float = FAR, key: str = "", left: Callable[[], bool] = bool) -> Future:
    return to.submit({"x": np.array(numbers)}, len(numbers), monotonic() + seconds, key, left)


async def until(check: Callable[[], bool]) -> None:
    """Lets the event loop turn until the check holds."""
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110 - what happens in a thread sets no event
            await asyncio.sleep(0.0005)


def doubled(answer: Prediction) -> list[int]:
    numbers: list[int] = answer.outputs["y"].tolist()
    return numbers


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


both = pytest.mark.parametrize("inline", [True, False], ids=["inline", "threaded"])


# What always holds


class Reference:
    """What the queue should hold and what should run, by the rules alone; an entry is (numbers, key)."""

    def __init__(self) -> None:
        self.waiting: list[tuple[list[int], str]] = []
        self.running: list[tuple[list[int], str]] = []
        self.batches: list[list[int]] = []

    @property
    def rows(self) -> int:
        return sum(len(numbers) for numbers, _ in self.waiting)

    def next(self) -> None:
        self.running = self.waiting[:1]
        for entry in self.waiting[1:]:
            rows = sum(len(numbers) for numbers, _ in [*self.running, entry])
            if rows > MAX_BATCH or entry[1] != self.running[0][1]:
                break
            self.running.append(entry)
        del self.waiting[: len(self.running)]
        if self.running:
            self.batches.append([number for numbers, _ in self.running for number in numbers])


SUBMIT = st.tuples(st.just("submit"), st.integers(1, MAX_BATCH + 1), st.sampled_from("ab"))
END_BATCH = st.tuples(st.just("end batch"), st.just(0), st.just(""))
GIVE_UP = st.tuples(st.just("give up"), st.integers(0, MAX_QUEUE), st.just(""))


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.one_of(SUBMIT, SUBMIT, END_BATCH, GIVE_UP), max_size=40))
def test_batches_in_a_thread_are_those_of_the_rules_and_every_caller_gets_its_own(steps: list[Any]) -> None:
    """Random arrivals, ends of batches and callers that give up, held after each step against a queue kept by hand."""

    async def scenario() -> None:
        reference, accepted, count = Reference(), list[tuple[list[int], Future]](), 0
        with batcher() as (queue, model):
            for kind, number, key in [*steps, *[("end batch", 0, "")] * len(steps)]:
                if kind == "submit":
                    numbers = list(range(count, count := count + number))
                    if number > MAX_BATCH or reference.rows + number > MAX_QUEUE:
                        with pytest.raises(Problem) as refused:
                            submit(queue, *numbers, key=key)
                        assert refused.value.status_code == (413 if number > MAX_BATCH else 503)
                        continue
                    accepted.append((numbers, submit(queue, *numbers, key=key)))
                    reference.waiting.append((numbers, key))
                    if not reference.running:
                        reference.next()
                elif kind == "give up" and number < len(reference.waiting):
                    numbers, _ = reference.waiting.pop(number)
                    next(future for entry, future in accepted if entry == numbers).cancel()
                elif kind == "end batch" and reference.running:
                    model.gate.release()
                    reference.next()
                await until(lambda: model.started == reference.batches and queue.queued_rows == reference.rows)
            assert not reference.waiting
            await until(lambda: all(future.done() for _, future in accepted))
            for numbers, future in accepted:
                assert future.cancelled() or doubled(future.result()) == [2 * number for number in numbers]

    run(scenario())


@both
@settings(max_examples=60, deadline=None)
@given(arrivals=st.lists(st.tuples(st.integers(1, MAX_BATCH), st.sampled_from("ab"), st.integers(0, 2)), max_size=40))
def test_in_free_running_nothing_is_lost_doubled_reordered_or_over_the_bounds(
    inline: bool, arrivals: list[tuple[int, str, int]]
) -> None:
    async def scenario() -> None:
        accepted, count = list[tuple[list[int], str, Future]](), 0
        with batcher(inline=inline, open=True) as (queue, model):
            for rows, key, turns in arrivals:
                numbers = list(range(count, count + rows))
                if queue.queued_rows + rows > MAX_QUEUE:
                    with pytest.raises(Problem):
                        submit(queue, *numbers, key=key)
                else:
                    accepted.append((numbers, key, submit(queue, *numbers, key=key)))
                    count += rows
                assert queue.queued_rows <= MAX_QUEUE
                for _ in range(turns):
                    await asyncio.sleep(0)
            for numbers, _, future in accepted:
                assert doubled(await future) == [2 * number for number in numbers]
            assert [number for batch in model.started for number in batch] == list(range(count))
            key_of = {number: key for numbers, key, _ in accepted for number in numbers}
            for batch in model.started:
                assert len(batch) <= MAX_BATCH
                assert len({key_of[number] for number in batch}) == 1
            assert queue.queued_rows == 0

    run(scenario())


@both
@settings(max_examples=60, deadline=None)
@given(entries=st.lists(st.tuples(st.integers(1, 2), st.booleans()), min_size=1, max_size=MAX_QUEUE // 2))
def test_an_entry_that_makes_its_batch_fail_fails_alone(inline: bool, entries: list[tuple[int, bool]]) -> None:
    async def scenario() -> None:
        with batcher(inline=inline, open=True) as (queue, _):
            futures = [submit(queue, *[-5 if bad else 5] * rows) for rows, bad in entries]
            for (rows, bad), future in zip(entries, futures, strict=True):
                if bad:
                    with pytest.raises(Refusing):
                        await future
                else:
                    assert doubled(await future) == [10] * rows
            assert doubled(await submit(queue, 7)) == [14]

    run(scenario())


# Which requests share a batch


def test_all_that_arrives_while_a_batch_runs_is_the_next_batch() -> None:
    async def scenario() -> None:
        with batcher() as (queue, model):
            first = submit(queue, 1)
            await until(lambda: model.started == [[1]])
            others = [submit(queue, number) for number in (2, 3, 4)]
            model.open()
            await asyncio.gather(first, *others)
            assert model.started == [[1], [2, 3, 4]]

    run(scenario())


def test_what_arrives_in_one_turn_of_the_loop_is_one_batch_where_the_model_runs_inline() -> None:
    async def scenario() -> None:
        with batcher(inline=True) as (queue, model):
            await asyncio.gather(*(submit(queue, number) for number in (1, 2, 3)))
            assert model.started == [[1, 2, 3]]

    run(scenario())


@both
def test_a_single_request_to_an_idle_model_runs_at_once(inline: bool) -> None:
    """No timer stands before it: the best of ten waits no longer than a thread takes to wake up."""

    async def scenario() -> None:
        with batcher(inline=inline, open=True) as (queue, _):
            waited = [(await submit(queue, 1)).waited for _ in range(10)]
            assert min(waited) < 0.002

    run(scenario())


@both
def test_a_long_entry_at_the_head_is_not_overtaken(inline: bool) -> None:
    async def scenario() -> None:
        with batcher(inline=inline, open=True) as (queue, model):
            await asyncio.gather(submit(queue, 1, 2, 3), submit(queue, 4, 5, 6), submit(queue, 7))
            assert [number for batch in model.started for number in batch] == [1, 2, 3, 4, 5, 6, 7]
            assert model.started[-1] == [4, 5, 6, 7]

    run(scenario())


# The bound


@both
def test_the_bound_is_exact_and_a_refusal_is_decided_at_once(inline: bool) -> None:
    async def scenario() -> None:
        with batcher(inline=inline) as (queue, model):
            waiting = []
            if not inline:
                waiting.append(submit(queue, 0))
                await until(lambda: model.started == [[0]])
            waiting += [submit(queue, number) for number in range(MAX_QUEUE)]
            with pytest.raises(Problem) as refused:
                submit(queue, 99)
            assert refused.value.status_code == 503
            assert refused.value.headers == {"Retry-After": "1"}
            assert queue.queued_rows == MAX_QUEUE
            model.open()
            await asyncio.gather(*waiting)
            assert doubled(await submit(queue, 99)) == [198]

    run(scenario())


# Callers who are late or gone


def test_a_caller_learns_in_time_that_it_is_too_late_while_a_long_batch_runs() -> None:
    async def scenario() -> None:
        with batcher() as (queue, model):
            first = submit(queue, 1)
            await until(lambda: model.started == [[1]])
            started = monotonic()
            with pytest.raises(Problem) as late:
                await submit(queue, 2, seconds=0.05)
            assert late.value.status_code == 504
            assert 0.04 < monotonic() - started < 0.5
            assert queue.queued_rows == 0, "its place is free again"
            model.open()
            await first
            await submit(queue, 3)
            assert model.started == [[1], [3]], "it has cost no inference"

    run(scenario())


def test_a_caller_whose_own_batch_takes_too_long_learns_it_in_time() -> None:
    async def scenario() -> None:
        with batcher() as (queue, model):
            started = monotonic()
            with pytest.raises(Problem) as late:
                await submit(queue, 1, seconds=0.05)
            assert late.value.status_code == 504
            assert monotonic() - started < 0.5
            model.open()
            assert doubled(await submit(queue, 2)) == [4], "its answer, which came too late, harms nothing"

    run(scenario())


@both
def test_an_entry_whose_deadline_has_passed_costs_no_inference(inline: bool) -> None:
    async def scenario() -> None:
        with batcher(inline=inline, open=True) as (queue, model):
            late, good = submit(queue, 1, seconds=-1), submit(queue, 2)
            with pytest.raises(Problem) as refused:
                await late
            assert refused.value.status_code == 504
            assert doubled(await good) == [4]
            assert model.started == [[2]]

    run(scenario())


@both
def test_an_entry_whose_task_is_cancelled_costs_no_inference(inline: bool) -> None:
    async def scenario() -> None:
        with batcher(inline=inline, open=True) as (queue, model):
            gone, good = submit(queue, 1), submit(queue, 2)
            gone.cancel()
            assert doubled(await good) == [4]
            assert model.started == [[2]]
            assert queue.queued_rows == 0

    run(scenario())


def test_an_entry_whose_client_has_left_costs_no_inference() -> None:
    """Asked when its turn comes. Inline, an entry waits for less than a turn of the loop, and nobody is asked."""

    async def scenario() -> None:
        with batcher() as (queue, model):
            first = submit(queue, 1)
            await until(lambda: model.started == [[1]])
            gone, good = submit(queue, 2, left=lambda: True), submit(queue, 3)
            model.open()
            with pytest.raises(ClientLeft):
                await gone
            assert doubled(await good) == [6]
            await first
            assert model.started == [[1], [3]]

    run(scenario())


@both
def test_entries_that_are_all_dead_leave_the_queue_free_for_the_next(inline: bool) -> None:
    async def scenario() -> None:
        with batcher(inline=inline, open=True) as (queue, model):
            for future in [submit(queue, number) for number in range(MAX_QUEUE)]:
                future.cancel()
            await until(lambda: queue.queued_rows == 0)
            assert doubled(await submit(queue, 3)) == [6]
            assert model.started == [[3]]

    run(scenario())


# What it reports


@both
def test_each_batch_is_reported_with_its_rows(inline: bool) -> None:
    async def scenario() -> None:
        rows: list[int] = []
        model = Gated()
        model.open()
        queue = Batcher(
            model.run,
            max_batch_rows=MAX_BATCH,
            max_queue_rows=MAX_QUEUE,
            inline=inline,
            on_batch=lambda count, *_: rows.append(count),
        )
        await asyncio.gather(*(submit(queue, number, number) for number in range(MAX_QUEUE // 2)))
        assert rows == [len(batch) for batch in model.started]
        assert sum(rows) == MAX_QUEUE

    run(scenario())
