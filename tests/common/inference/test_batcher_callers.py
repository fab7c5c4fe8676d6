"""Entries whose deadline has passed or whose client is gone: they fail in time, cost no inference, free their place."""

from time import monotonic

import pytest
from starlette.requests import ClientDisconnect

from common.inference.batcher import Batcher
from common.service.problems import Problem
from tests.support.gated_batcher import MAX_QUEUE, Gated, batcher, both, doubled, run, submit, until


def test_queued_entry_fails_at_its_deadline_while_a_long_batch_runs() -> None:
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


def test_running_entry_fails_at_its_deadline_when_its_own_batch_takes_too_long() -> None:
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


def test_entry_whose_client_has_disconnected_costs_no_inference() -> None:
    """It is polled when its turn comes. Inline, an entry waits for less than one loop iteration and is not polled."""

    async def scenario() -> None:
        with batcher() as (queue, model):
            first = submit(queue, 1)
            await until(lambda: model.started == [[1]])
            gone, good = submit(queue, 2, left=lambda: True), submit(queue, 3)
            model.open()
            with pytest.raises(ClientDisconnect):
                await gone
            assert doubled(await good) == [6]
            await first
            assert model.started == [[1], [3]]

    run(scenario())


@both
def test_cancelled_entries_leave_the_queue_free_for_the_next(inline: bool) -> None:
    async def scenario() -> None:
        with batcher(inline=inline, open=True) as (queue, model):
            for future in [submit(queue, number) for number in range(MAX_QUEUE)]:
                future.cancel()
            await until(lambda: queue.queued_rows == 0)
            assert doubled(await submit(queue, 3)) == [6]
            assert model.started == [[3]]

    run(scenario())


def test_a_loop_that_ends_before_its_batch_does_not_stop_the_requests_of_the_next_loop() -> None:
    """Each request of a `TestClient` that is no context manager has a loop of its own."""

    async def give_up(queue: Batcher, model: Gated) -> None:
        running = submit(queue, 1, seconds=0.01)
        await until(lambda: model.started == [[1]])
        submit(queue, 2)
        with pytest.raises(Problem):
            await running

    async def ask_again(queue: Batcher, model: Gated) -> None:
        model.open()
        assert doubled(await submit(queue, 3)) == [6]
        assert (queue.queued_rows, model.started) == (0, [[1], [3]])

    with batcher() as (queue, model):
        run(give_up(queue, model))
        run(ask_again(queue, model))
