"""Invariants of batching in random histories: no entry is lost, doubled, reordered or over the limits."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from common.service.problems import Problem
from tests.support.gated_batcher import (
    MAX_BATCH,
    MAX_QUEUE,
    Future,
    Refusing,
    batcher,
    both,
    doubled,
    run,
    submit,
    until,
)


class Reference:
    """What the queue should hold and what should run, by the rules alone; an entry is (numbers, key)."""

    def __init__(self) -> None:
        self.waiting: list[tuple[list[int], str]] = []
        self.running: list[tuple[list[int], str]] = []
        self.batches: list[list[int]] = []

    @property
    def rows(self) -> int:
        return sum(len(numbers) for numbers, _ in self.waiting)

    def submit(self, numbers: list[int], key: str) -> None:
        """An entry with more numbers than a batch is split."""
        parts = [numbers[start : start + MAX_BATCH] for start in range(0, len(numbers), MAX_BATCH)]
        self.waiting += [(part, key) for part in parts]

    def give_up(self, numbers: list[int]) -> None:
        self.waiting = [entry for entry in self.waiting if entry[0][0] not in numbers]

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


SUBMIT = st.tuples(st.just("submit"), st.integers(1, MAX_QUEUE + 1), st.sampled_from("ab"))
END_BATCH = st.tuples(st.just("end batch"), st.just(0), st.just(""))
GIVE_UP = st.tuples(st.just("give up"), st.integers(0, MAX_QUEUE), st.just(""))


@settings(max_examples=150)
@given(steps=st.lists(st.one_of(SUBMIT, SUBMIT, END_BATCH, GIVE_UP), max_size=40))
def test_threaded_batches_match_the_reference_and_every_caller_gets_its_own_rows(steps: list[Any]) -> None:
    """Random arrivals, ends of batches and callers that give up, held after each step against a queue kept by hand."""

    async def scenario() -> None:
        reference, accepted, count = Reference(), list[tuple[list[int], Future]](), 0
        with batcher() as (queue, model):
            for kind, number, key in [*steps, *[("end batch", 0, "")] * (3 * len(steps))]:
                if kind == "submit":
                    numbers = list(range(count, count := count + number))
                    if reference.rows + number > MAX_QUEUE:
                        with pytest.raises(Problem) as refused:
                            submit(queue, *numbers, key=key)
                        assert refused.value.status_code == (413 if number > MAX_QUEUE else 503)
                        continue
                    accepted.append((numbers, submit(queue, *numbers, key=key)))
                    reference.submit(numbers, key)
                    if not reference.running:
                        reference.next()
                elif kind == "give up" and number < len(reference.waiting):
                    first = reference.waiting[number][0][0]
                    numbers, future = next(one for one in accepted if first in one[0])
                    future.cancel()
                    reference.give_up(numbers)
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
@settings(max_examples=60)
@given(arrivals=st.lists(st.tuples(st.integers(1, MAX_BATCH), st.sampled_from("ab"), st.integers(0, 2)), max_size=40))
def test_no_entry_is_lost_doubled_reordered_or_over_the_limits(
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
@settings(max_examples=60)
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
