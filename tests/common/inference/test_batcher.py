"""Batching: which requests share a batch, how many may wait, and what `on_batch` reports."""

import asyncio
import threading
import time
from math import inf
from time import monotonic

import numpy as np
import pytest

from common.inference.batcher import NEVER_INLINE, Batcher
from common.inference.entries import ALONE, Prediction
from common.inference.tensor_spec import Tensors
from common.service.problems import Problem
from tests.support.gated_batcher import (
    MAX_BATCH,
    MAX_QUEUE,
    Gated,
    Refusing,
    batcher,
    both,
    doubled,
    run,
    submit,
    until,
)

# Which requests share a batch


def test_requests_that_arrive_while_a_batch_runs_are_the_next_batch() -> None:
    async def scenario() -> None:
        with batcher() as (queue, model):
            first = submit(queue, 1)
            await until(lambda: model.started == [[1]])
            others = [submit(queue, number) for number in (2, 3, 4)]
            model.open()
            await asyncio.gather(first, *others)
            assert model.started == [[1], [2, 3, 4]]

    run(scenario())


def test_requests_of_one_loop_iteration_are_one_batch_when_the_model_runs_inline() -> None:
    async def scenario() -> None:
        with batcher(inline=True) as (queue, model):
            await asyncio.gather(*(submit(queue, number) for number in (1, 2, 3)))
            assert model.started == [[1, 2, 3]]

    run(scenario())


@both
def test_single_request_to_an_idle_model_runs_immediately(inline: bool) -> None:
    """No timer stands before it: the best of ten waits no longer than a thread takes to wake up."""

    async def scenario() -> None:
        with batcher(inline=inline, open=True) as (queue, _):
            waited = [(await submit(queue, 1)).waited for _ in range(10)]
            assert min(waited) < 0.002

    run(scenario())


@both
def test_long_entry_at_the_head_is_not_overtaken(inline: bool) -> None:
    async def scenario() -> None:
        with batcher(inline=inline, open=True) as (queue, model):
            await asyncio.gather(submit(queue, 1, 2, 3), submit(queue, 4, 5, 6), submit(queue, 7))
            assert [number for batch in model.started for number in batch] == [1, 2, 3, 4, 5, 6, 7]
            assert model.started[-1] == [4, 5, 6, 7]

    run(scenario())


@both
def test_entries_that_share_no_run_each_run_alone_in_order_and_fail_alone(inline: bool) -> None:
    async def scenario() -> None:
        with batcher(inline=inline, open=True, turn_elements=inf) as (queue, model):
            asked = [submit(queue, number, -number, key=ALONE) for number in (1, 2)] + [submit(queue, 3, key=ALONE)]
            answers = await asyncio.gather(*asked, submit(queue, 4, 4), submit(queue, 5), return_exceptions=True)
            assert model.started == [[1, -1], [2, -2], [3], [4, 4, 5]]
            assert [type(answer) for answer in answers] == [Refusing, Refusing, *[Prediction] * 3]

    run(scenario())


@pytest.mark.parametrize(("turn_elements", "together"), [(0, 1), (3, 2), (inf, MAX_BATCH)])
def test_small_entries_that_share_no_run_share_a_turn(turn_elements: float, together: int) -> None:
    """Those whose elements are fewer than the limit: a slow model's first answer does not wait for its last."""

    async def scenario() -> None:
        with batcher(turn_elements=turn_elements) as (queue, model):
            first = submit(queue, 0, key=ALONE)
            await until(lambda: model.started == [[0]])
            asked = [submit(queue, number, key=ALONE) for number in range(1, 6)]
            model.gate.release()
            await first
            model.gate.release(together)
            await asked[together - 1]
            assert [answer.done() for answer in asked] == [n < together for n in range(5)]

    run(scenario())


def test_what_took_long_inline_runs_in_the_thread_from_then_on() -> None:
    """Long in seconds of CPU: it is no sign of the batch if other processes had the CPU."""
    main = threading.current_thread()
    inline: list[bool] = []

    def busy(inputs: Tensors) -> Tensors:
        inline.append(threading.current_thread() is main)
        end = time.thread_time() + float(inputs["x"][0])
        while time.thread_time() < end:
            pass
        time.sleep(0.03)
        return {"y": inputs["x"]}

    async def scenario() -> None:
        queue = Batcher(busy, max_batch_rows=8, max_queue_rows=8, inline_elements=inf, inline_seconds=0.01)
        for milliseconds in (0, 15, 0, 15):
            values = np.full(4, milliseconds / 1e3)
            await queue.submit({"x": values}, 4, monotonic() + 10)
        await queue.submit({"x": np.zeros(1)}, 1, monotonic() + 10)

    run(scenario())
    assert inline == [True, True, False, False, True]


# The bound


@both
def test_queue_limit_is_exact_and_rejects_immediately(inline: bool) -> None:
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
            inline_elements=inf if inline else NEVER_INLINE,
            on_batch=lambda count, *_: rows.append(count),
        )
        await asyncio.gather(*(submit(queue, number, number) for number in range(MAX_QUEUE // 2)))
        assert rows == [len(batch) for batch in model.started]
        assert sum(rows) == MAX_QUEUE

    run(scenario())
