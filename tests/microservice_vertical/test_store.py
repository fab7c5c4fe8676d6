"""The store of microservice_vertical on a real Valkey: what is kept comes back as it was, or a problem says why not."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from common.inference.tensor_spec import Tensors
from common.service.problems import Problem
from common.service.service import Service
from common.store.image_store import ImageStore, Scans
from common.training.data import Features
from microservice_vertical.settings import ProxySettings
from tests.support.processes import wait_until
from tests.support.stack import Stack, stack_of

Scenario = Callable[[ImageStore], Coroutine[Any, Any, None]]


@dataclass
class Caller:
    """One who has so many seconds from now."""

    seconds: float = 5.0
    timings: dict[str, float] = field(default_factory=dict)
    log: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.deadline = monotonic() + self.seconds


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Of the pattern, only the store runs."""
    with stack_of("microservice_vertical") as stack:
        stack.start("redis")
        yield stack


@pytest.fixture(autouse=True)
def _own_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service sets up the logging of its process, but this one is pytest's."""
    monkeypatch.setattr("common.service.service.configure_logging", lambda *_: None)


def run(stack: Stack, scenario: Scenario, **settings: Any) -> None:
    """A scenario with a store that is opened and closed as a service does it."""

    async def go() -> None:
        async with opened(stack, **settings) as store:
            await scenario(store)

    asyncio.run(go())


@asynccontextmanager
async def opened(stack: Stack, **settings: Any) -> AsyncIterator[ImageStore]:
    url = f"redis://127.0.0.1:{stack.port('redis')}/0"
    proxy = ProxySettings(**({"redis_url": url} | settings))
    app = Service("test", proxy)
    store = ImageStore(app, "microservice_vertical", proxy)
    async with app.router.lifespan_context(app):
        yield store


def some_scans(count: int) -> Features:
    """Values of any size that a float32 of a scan can have."""
    rng = np.random.default_rng(count)
    scans = (rng.uniform(0, 16, (count, 64)) * 10.0 ** rng.integers(-40, 1, (count, 64))).astype(np.float32)
    scans[:, 0] = np.arange(count)
    return scans


async def status_of(asked: Coroutine[Any, Any, object]) -> int:
    """That of the problem which it ends in."""
    with pytest.raises(Problem) as caught:
        await asked
    assert (caught.value.headers or {}).get("Retry-After") == ("1" if caught.value.status_code == 503 else None)
    return caught.value.status_code


# What is kept


@pytest.mark.parametrize("count", [1, 2, 16])
def test_stored_scans_come_back_bit_for_bit(stack: Stack, count: int) -> None:
    async def scenario(store: ImageStore) -> None:
        scans = some_scans(count)
        caller = Caller()
        image_id = await store.put({"features": scans}, caller)
        every, first = await store.get(image_id, "all", caller), await store.get(image_id, "first", caller)
        features = every["features"]
        assert (features.dtype, features.shape) == (np.dtype(np.float32), (count, 64))
        assert features.tobytes() == scans.tobytes()
        assert first["features"].tobytes() == scans[:1].tobytes()
        assert 0 < caller.timings["store"] < 5

    run(stack, scenario)


def test_scans_that_are_not_contiguous_in_memory_are_stored(stack: Stack) -> None:
    async def scenario(store: ImageStore) -> None:
        scans = np.asfortranarray(some_scans(9))[::-2]
        kept = await store.get(await store.put({"features": scans}, Caller()), "all", Caller())
        np.testing.assert_array_equal(kept["features"], scans)

    run(stack, scenario)


def test_every_letter_has_its_own_key_that_expires(stack: Stack) -> None:
    async def scenario(store: ImageStore) -> None:
        stack.store().flushdb()
        ids = await asyncio.gather(*[store.put({"features": some_scans(2)}, Caller()) for _ in range(20)])
        keys = {key(image_id) for image_id in ids}
        assert {found.decode() for found in stack.store().scan_iter()} == keys
        assert len(keys) == 20
        assert all(90 < stack.store().ttl(found) <= 100 for found in keys)

    run(stack, scenario, image_ttl_seconds=100)


def key(image_id: UUID) -> str:
    return f"microservice_vertical:image:{image_id}"


def test_expired_letter_is_a_404(stack: Stack) -> None:
    async def scenario(store: ImageStore) -> None:
        image_id = await store.put({"features": some_scans(1)}, Caller())
        assert len((await store.get(image_id, "all", Caller()))["features"]) == 1
        await asyncio.to_thread(wait_until, lambda: not stack.store().exists(key(image_id)), 10)
        assert await status_of(store.get(image_id, "all", Caller())) == 404
        assert await status_of(store.get(image_id, "first", Caller())) == 404

    run(stack, scenario, image_ttl_seconds=1)


@pytest.mark.parametrize("scans", ["first", "all"])
def test_unknown_letter_is_a_404(stack: Stack, scans: Scans) -> None:
    async def scenario(store: ImageStore) -> None:
        assert await status_of(store.get(uuid4(), scans, Caller())) == 404

    run(stack, scenario)


@pytest.mark.parametrize(
    ("scans", "size"),
    [*[("first", size) for size in (1, 252, 255)], *[("all", size) for size in (1, 252, 255, 257, 260, 3 * 256 - 4)]],
)
def test_value_that_is_no_whole_number_of_scans_is_a_problem(stack: Stack, scans: Scans, size: int) -> None:
    """Something else has written there: another version, say, whose models look at more."""

    async def scenario(store: ImageStore) -> None:
        image_id = uuid4()
        stack.store().set(key(image_id), b"x" * size)
        assert await status_of(store.get(image_id, scans, Caller())) in (404, 503)

    run(stack, scenario)


def test_key_of_another_type_is_a_503(stack: Stack) -> None:
    async def scenario(store: ImageStore) -> None:
        image_id = uuid4()
        stack.store().rpush(key(image_id), "no", "letter")
        assert await status_of(store.get(image_id, "all", Caller())) == 503

    run(stack, scenario)


# When it cannot be had


def test_full_store_rejects_with_503_and_loses_nothing(stack: Stack) -> None:
    """It never evicts (noeviction), so what was acknowledged can still be read."""

    async def scenario(store: ImageStore) -> None:
        ids = [await store.put({"features": some_scans(3)}, Caller()) for _ in range(5)]
        keys = stack.store().dbsize()
        assert stack.store().config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        stack.store().config_set("maxmemory", 1)
        try:
            for _ in range(5):
                assert await status_of(store.put({"features": some_scans(16)}, Caller())) == 503
            assert stack.store().dbsize() == keys
            for image_id in ids:
                assert (await store.get(image_id, "all", Caller()))["features"].tobytes() == some_scans(3).tobytes()
        finally:
            stack.store().config_set("maxmemory", 256 * 2**20)
        await store.put({"features": some_scans(16)}, Caller())

    run(stack, scenario)


def test_store_that_is_down_is_a_503_immediately_and_works_when_it_is_back(stack: Stack) -> None:
    """The connections to the old one are dead, and no caller notices."""

    async def scenario(store: ImageStore) -> None:
        ids = await asyncio.gather(*[store.put({"features": some_scans(2)}, Caller()) for _ in range(5)])
        stack.stop("redis")
        began = monotonic()
        assert await status_of(store.get(ids[0], "all", Caller())) == 503
        assert await status_of(store.put({"features": some_scans(1)}, Caller())) == 503
        assert not await store.is_ready()
        assert monotonic() - began < 1
        await asyncio.to_thread(stack.start, "redis")
        letters = await asyncio.gather(*[store.get(image_id, "all", Caller()) for image_id in ids])
        assert all(letter["features"].tobytes() == some_scans(2).tobytes() for letter in letters)
        assert await store.is_ready()

    run(stack, scenario)


def test_store_restart_between_two_requests_is_not_noticed(stack: Stack) -> None:
    async def scenario(store: ImageStore) -> None:
        ids = await asyncio.gather(*[store.put({"features": some_scans(2)}, Caller()) for _ in range(5)])
        stack.stop("redis")
        await asyncio.to_thread(stack.start, "redis")
        letters = await asyncio.gather(*[store.get(image_id, "all", Caller()) for image_id in ids])
        assert all(letter["features"].tobytes() == some_scans(2).tobytes() for letter in letters)

    run(stack, scenario)


@pytest.mark.parametrize("cancelled", [False, True], ids=["late", "cancelled"])
def test_replies_are_not_mixed_up_after_a_store_hung(stack: Stack, cancelled: bool) -> None:
    """Neither where the deadline has ended the wait, nor where the caller has left."""

    async def scenario(store: ImageStore) -> None:
        ids = [await store.put({"features": some_scans(count)}, Caller()) for count in range(1, 9)]
        stack.servers["redis"].process.send_signal(signal.SIGSTOP)
        try:
            began = monotonic()
            asked = [asyncio.ensure_future(store.get(ids[0], "all", Caller(0.3))) for _ in range(8)]
            if cancelled:
                await asyncio.sleep(0.1)
                assert all(task.cancel() for task in asked)
                await asyncio.gather(*asked, return_exceptions=True)
            else:
                assert [await status_of(settled(task)) for task in asked] == [503] * 8
            assert monotonic() - began < 0.6
        finally:
            stack.servers["redis"].process.send_signal(signal.SIGCONT)
        for _ in range(3):
            letters = await asyncio.gather(*[store.get(image_id, "all", Caller()) for image_id in ids])
            assert [len(letter["features"]) for letter in letters] == list(range(1, 9))

    run(stack, scenario)


async def settled(task: asyncio.Future[Tensors]) -> Tensors:
    return await task


def test_request_whose_deadline_has_passed_is_rejected_immediately(stack: Stack) -> None:
    async def scenario(store: ImageStore) -> None:
        image_id = await store.put({"features": some_scans(1)}, Caller())
        assert await status_of(store.get(image_id, "all", Caller(-1))) == 503
        assert len((await store.get(image_id, "all", Caller()))["features"]) == 1

    run(stack, scenario)
