"""What the queue takes of Redis' memory it gives back: what has ended expires, and lists are bounded."""

import asyncio
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from asynchronous.delivery.outbox import GROUP as DELIVERIES, STREAM as FINISHED, Outbox
from asynchronous.jobs import ClaimedJob, NewJob, Outcome
from asynchronous.queue import GROUP, STREAM, JobQueue
from tests.support.queue.model import FIXED, FOREVER
from tests.support.queue.open_queue import PAYLOAD, PREDICTION, TTL, open_queue, submit_plain
from tests.support.redis_servers import OTHERS, RedisServer, redis_server

AT_ONCE = 64
DEAD_LETTERS = "asynchronous:dead-letters"
MOST_LEFT = 3 * 2**20


async def submit(queue: JobQueue, number: int) -> str:
    """Every tenth with an ordering key, every other with an Idempotency-Key."""
    ordering_key = f"key-{number % 70}" if number % 10 == 0 else ""
    idempotency_key = f"once-{uuid4()}" if number % 2 else ""
    return await queue.submit(str(uuid4()), NewJob(PAYLOAD, ordering_key, idempotency_key, "digest"), 10_000)


def outcome(number: int, job: ClaimedJob) -> Outcome:
    """Most are done; a few are tried again, or dead."""
    if number % 200 == 7:
        return Outcome(job, "dead", "ValueError: so it is", job.attempts)
    if number % 50 == 9 and job.attempts == 1:
        return Outcome(job, "retry", "ValueError: so it is", job.attempts)
    return Outcome(job, "done", PREDICTION, job.attempts)


async def used_memory(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


async def work(queue: JobQueue, jobs: int) -> int:
    """Hand them in and do them, a batch at a time, by predictors that are replaced; gives how many were begun."""
    begun = submitted = 0
    while await queue.enqueue_due_retries("predictor") or submitted < jobs:
        predictor = f"predictor-{submitted // 10_000}"
        numbers = range(submitted, min(submitted + AT_ONCE, jobs))
        await asyncio.gather(*[submit(queue, number) for number in numbers])
        submitted += len(numbers)
        claimed = await queue.claim(predictor, 2 * AT_ONCE, 1)
        await queue.complete_jobs(predictor, [outcome(begun + place, job) for place, job in enumerate(claimed)])
        begun += len(claimed)
    return begun


async def take_and_give_back(server: RedisServer, jobs: int, job_ttl: int) -> None:
    async with open_queue(server, job_ttl) as (redis, queue):
        await work(queue, AT_ONCE)  # the scripts are there
        before = await used_memory(redis)
        assert await work(queue, jobs) >= jobs  # some of them twice
        at_its_end = await used_memory(redis)

        assert await redis.xlen(STREAM) == 0
        assert await queue.enqueue_due_retries("predictor") == 0
        await deliver(redis)
        await asyncio.sleep(max(job_ttl, TTL) + 0.2)  # dead letters' jobs are kept for longer
        await queue.remove_idle_consumers(100)
        assert await redis.xinfo_consumers(STREAM, GROUP) == []
        assert {key.decode() for key in await redis.eval(FOREVER, 0)} <= FIXED
        assert {key.decode() async for key in redis.scan_iter(count=1_000)} <= FIXED
        for stream in (STREAM, "asynchronous:finished"):
            assert await redis.xlen(stream) == 0
        assert await redis.xlen(DEAD_LETTERS) <= 10_100
        await asyncio.sleep(0.5)  # a table of keys that has become too large is made smaller on the way
        after = await used_memory(redis)
        print(f"{jobs:,} jobs: used memory {before:,} bytes, at their end {at_its_end:,}, afterwards {after:,}")
        assert after - before < MOST_LEFT


async def deliver(redis: Redis) -> None:
    """What has ended is brought to the result database, which need not be there for this."""
    outbox = Outbox(redis, TTL)
    await outbox.open()
    while finished := await outbox.read_finished("delivery", 1_000, 1):
        await outbox.acknowledge(finished)


@pytest.mark.parametrize(
    ("jobs", "job_ttl"),
    [
        pytest.param(1_000, 1, id="quick", marks=pytest.mark.full),
        pytest.param(100_000, 10, id="full", marks=[pytest.mark.full, pytest.mark.timeout(600)]),
    ],
)
def test_the_queue_frees_the_memory_that_it_uses(valkey: RedisServer, jobs: int, job_ttl: int) -> None:
    asyncio.run(take_and_give_back(valkey, jobs, job_ttl))


@pytest.mark.full
@pytest.mark.parametrize("kind", OTHERS)
def test_the_queue_frees_memory_on_other_servers(kind: str) -> None:
    with redis_server(kind) as server:
        asyncio.run(take_and_give_back(server, 1_000, 1))


@pytest.mark.full
def test_the_list_of_finished_jobs_is_bounded_when_no_delivery_runs(valkey: RedisServer) -> None:
    """The delivery process does not run: results are listed for it as long as they are kept, and no longer."""

    async def check() -> None:
        async with open_queue(valkey, job_ttl=60) as (redis, queue):
            await work(queue, 1_000)
            await asyncio.sleep(TTL + 0.1)
            await work(queue, 1)
            assert await redis.xlen("asynchronous:finished") <= 200

    asyncio.run(check())


@pytest.mark.full
def test_the_list_of_webhooks_is_bounded_when_no_delivery_runs(valkey: RedisServer) -> None:
    async def check() -> None:
        async with open_queue(valkey, job_ttl=60) as (redis, queue):
            for _ in range(2):
                await submit_plain(queue, callback_url="http://receiver/hook")
                (job,) = await queue.claim("predictor", 10, 1)
                await queue.complete_jobs("predictor", [Outcome(job, "done", PREDICTION, 1)])
                assert await redis.zcard("asynchronous:webhooks:receiver") == 1
                await asyncio.sleep(TTL + 0.1)
            assert not await redis.exists("asynchronous:webhooks:receiver", "asynchronous:receivers")

    asyncio.run(check())


@pytest.mark.full
def test_exited_delivery_processes_are_removed_from_the_group(valkey: RedisServer) -> None:
    async def check() -> None:
        async with open_queue(valkey) as (redis, _):
            outbox = Outbox(redis, TTL, idle_ms=20)
            await outbox.open()
            for number in range(3):
                await outbox.read_finished(f"delivery-{number}", 1, 1)
            await asyncio.sleep(0.3)
            await outbox.open()
            assert await redis.xinfo_consumers(FINISHED, DELIVERIES) == []

    asyncio.run(check())
