"""What waits for too long expires, and takes no place any more; what belongs to a job lasts as long as the job."""

import asyncio

import pytest

from asynchronous.jobs import Outcome
from asynchronous.queue import STREAM
from tests.support.queue.model import FIXED, FOREVER
from tests.support.queue.open_queue import PREDICTION, TTL, open_queue, submit_plain
from tests.support.redis_servers import RedisServer

DEAD_LETTERS = "asynchronous:dead-letters"


@pytest.mark.full
def test_a_dead_letter_expires_with_its_job(valkey: RedisServer) -> None:
    async def check() -> None:
        async with open_queue(valkey) as (redis, queue):
            for _ in range(2):
                job_id = await submit_plain(queue)
                (job,) = await queue.claim("predictor", 10, 1)
                await queue.complete_jobs("predictor", [Outcome(job, "dead", "so it is", 1)])
                assert [fields[b"job_id"].decode() for _, fields in await queue.dead_letters(10)] == [job_id]
                await asyncio.sleep(0.6 * TTL)
                assert len(await queue.dead_letters(10)) == 1
                await asyncio.sleep(0.6 * TTL)
                assert await queue.dead_letters(10) == []
            assert not await redis.exists(DEAD_LETTERS)

    asyncio.run(check())


@pytest.mark.full
@pytest.mark.parametrize("ordering_key", ["", "key"])
def test_expired_jobs_no_longer_count_as_open(valkey: RedisServer, ordering_key: str) -> None:
    """Else they would take the place of others for ever."""

    async def check() -> None:
        async with open_queue(valkey) as (redis, queue):
            for _ in range(3):
                await submit_plain(queue, ordering_key)
            await asyncio.sleep(TTL + 0.1)
            assert await queue.claim("predictor", 10, 1) == []
            assert (await redis.xlen(STREAM), await queue.enqueue_due_retries("predictor")) == (0, 0)
            assert {key.decode() for key in await redis.eval(FOREVER, 0)} <= FIXED

            fresh = await submit_plain(queue, ordering_key)
            assert [job.job_id for job in await queue.claim("predictor", 10, 1)] == [fresh]

    asyncio.run(check())


@pytest.mark.full
@pytest.mark.parametrize("ordering_key", ["", "key"])
def test_a_job_that_expires_before_its_retry_is_not_done(valkey: RedisServer, ordering_key: str) -> None:
    async def check() -> None:
        async with open_queue(valkey) as (redis, queue):
            await submit_plain(queue, ordering_key)
            (job,) = await queue.claim("predictor", 1, 1)
            await queue.complete_jobs("predictor", [Outcome(job, "retry", "so it is", 1)])
            await asyncio.sleep(TTL + 0.1)
            assert await queue.enqueue_due_retries("predictor") == 0
            assert await queue.claim("predictor", 1, 1) == []
            assert {key.decode() for key in await redis.eval(FOREVER, 0)} <= FIXED

            fresh = await submit_plain(queue, ordering_key)
            assert [job.job_id for job in await queue.claim("predictor", 1, 1)] == [fresh]

    asyncio.run(check())


@pytest.mark.full
def test_jobs_behind_one_that_expires_before_its_retry_are_done(valkey: RedisServer) -> None:
    """Its line goes on, which later jobs have kept from expiring with it."""

    async def check() -> None:
        async with open_queue(valkey) as (_, queue):
            await submit_plain(queue, "key")
            (job,) = await queue.claim("predictor", 1, 1)
            await queue.complete_jobs("predictor", [Outcome(job, "retry", "so it is", 1)])
            await asyncio.sleep(0.6 * TTL)
            behind = [await submit_plain(queue, "key") for _ in range(2)]
            await asyncio.sleep(0.6 * TTL)
            assert await queue.enqueue_due_retries("predictor") == 2
            for job_id in behind:
                (job,) = await queue.claim("predictor", 10, 1)
                await queue.complete_jobs("predictor", [Outcome(job, "done", PREDICTION, 1)])
                assert job.job_id == job_id

    asyncio.run(check())


@pytest.mark.full
def test_the_ordering_list_and_the_idempotency_key_last_as_long_as_the_job(valkey: RedisServer) -> None:
    """Which is longer than at first if it had to wait."""

    async def check() -> None:
        async with open_queue(valkey) as (_, queue):
            job_id = await submit_plain(queue, "key", "once")
            await asyncio.sleep(0.6 * TTL)
            (job,) = await queue.claim("predictor", 1, 1)
            await asyncio.sleep(0.6 * TTL)
            assert await submit_plain(queue, "key", "once") == job_id
            behind = await submit_plain(queue, "key")
            assert await queue.claim("predictor", 10, 1) == []
            await queue.complete_jobs("predictor", [Outcome(job, "done", PREDICTION, 1)])
            assert [job.job_id for job in await queue.claim("predictor", 10, 1)] == [behind]

    asyncio.run(check())


@pytest.mark.full
def test_the_result_of_an_expired_job_is_dropped(valkey: RedisServer) -> None:
    """Its result has no job to belong to: what is shown of a job is whole, or not there."""

    async def check() -> None:
        async with open_queue(valkey) as (_, queue):
            await submit_plain(queue)
            (job,) = await queue.claim("predictor", 1, 1)
            await asyncio.sleep(TTL + 0.1)
            await queue.complete_jobs("predictor", [Outcome(job, "done", PREDICTION, 1)])
            assert await queue.get(job.job_id) == {}
            assert await queue.enqueue_due_retries("predictor") == 0

    asyncio.run(check())
