"""SIGTERM: not ready, then a while for balancers to see it, then what is in progress is finished. Nothing is lost."""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest

from tests.support.load.balancer import REFUSED, Balancer
from tests.support.models.onnx_models import is_busy, slow_pixels, slow_reader
from tests.support.processes import wait_until
from tests.support.service_process import Server, is_ready, serving, starting

LONG = {"X-Request-Timeout-Ms": "10000"}


def ended(server: Server, seconds: float) -> float:
    """Waits for the end, which must be orderly, with exit code 0; how long it took."""
    started = monotonic()
    assert server.process.wait(seconds) == 0
    return monotonic() - started


async def until(balancer: Balancer, server: Server, enough: int) -> None:
    """Lets the load go on until this server has answered that many more requests."""
    wanted = balancer.answered[server.port] + enough
    async with asyncio.timeout(30):
        while balancer.answered[server.port] < wanted:  # noqa: ASYNC110 - one event for each number is too many
            await asyncio.sleep(0.02)


@pytest.mark.full
@pytest.mark.timeout(300)
def test_an_update_under_load_fails_no_request_and_unreadiness_is_seen_before_the_port_closes() -> None:
    """Behind a balancer that asks every 100 ms, one of two replicas at a time is ended and replaced."""
    for _ in range(5):
        with serving(drain_seconds=1) as old, serving() as other:

            async def scenario(old: Server = old, other: Server = other) -> Balancer:
                balancer = Balancer([old, other])
                async with balancer.running():
                    await until(balancer, old, 50)
                    old.process.send_signal(signal.SIGTERM)
                    await asyncio.to_thread(old.process.wait, 20)
                    await until(balancer, other, 50)
                return balancer

            balancer = asyncio.run(scenario())
            assert balancer.failed == []
            history = balancer.history[old.port]
            assert 503 in history, "readiness was never seen false"
            assert REFUSED in history
            assert history.index(503) < history.index(REFUSED)
            assert set(balancer.history[other.port]) == {200}


def test_while_it_drains_a_server_still_answers_and_closes_connections() -> None:
    with serving(drain_seconds=60) as server:
        assert "close" not in server.get("/health/live").headers.get("connection", "")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_ready(server))
        for path in ("/health/ready", "/health/live", "/metrics", "/nowhere", "/predict"):
            assert server.get(path).headers["connection"] == "close"
        server.still_reads_right()
        assert "SIGTERM: not ready any more, closing in 60.0 s or at a second SIGTERM" in server.log.read_text()
        server.process.send_signal(signal.SIGTERM)
        assert ended(server, 20) < 10


@pytest.mark.full
def test_work_that_takes_longer_than_the_drain_is_finished(tmp_path: Path) -> None:
    with (
        serving(
            model_uri=slow_reader(tmp_path / "slow.onnx"), batching="on", model_threads=1, drain_seconds=0.2
        ) as server,
        ThreadPoolExecutor(4) as threads,
    ):
        futures = [threads.submit(server.read, slow_pixels(1.5), **LONG)]
        wait_until(lambda: is_busy(server))
        futures += [threads.submit(server.read, slow_pixels(1), **LONG) for _ in range(2)]
        wait_until(lambda: server.metric("queue_rows") > 0)
        server.process.send_signal(signal.SIGTERM)
        assert [future.result().json()["digit"] for future in futures] == [7] * 3
        assert ended(server, 20) < 5


@pytest.mark.full
def test_an_idle_server_ends_when_the_drain_ends() -> None:
    with serving(drain_seconds=1) as server:
        server.process.send_signal(signal.SIGTERM)
        assert 0.9 < ended(server, 20) < 4


@pytest.mark.full
def test_a_second_sigterm_ends_the_wait() -> None:
    with serving(drain_seconds=60) as server:
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_ready(server))
        server.process.send_signal(signal.SIGTERM)
        assert ended(server, 20) < 5


@pytest.mark.full
def test_ctrl_c_ends_the_server_without_a_wait() -> None:
    with serving(drain_seconds=60) as server:
        server.process.send_signal(signal.SIGINT)
        server.process.wait(5)


def test_a_server_whose_model_fails_to_load_is_never_ready() -> None:
    with starting(model_uri="missing.onnx") as server:
        seen = set()
        while server.process.poll() is None:
            seen.add(is_ready(server))
        assert True not in seen
        assert server.process.returncode not in (0, -signal.SIGTERM)


def test_a_client_that_keeps_its_connection_open_does_not_hold_the_end_up() -> None:
    with serving() as server:
        server.still_reads_right()  # over a connection that stays open
        server.process.send_signal(signal.SIGTERM)
        assert ended(server, 20) < 3
