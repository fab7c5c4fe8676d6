"""Redis behind one address: a failover, a server that comes back empty, one that can take no write (A1)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from tests.support.http import fault_proxy as faults
from tests.support.processes import wait_until
from tests.support.queue.jobs import done, events, hand_in, hung, looks, submit
from tests.support.queue.redis_pair import RECOVERY_SECONDS, Pair, pair_of
from tests.support.redis_servers import OTHERS
from tests.support.service_process import is_ready

pytestmark = pytest.mark.full
SERVICES = ("predictor", "delivery", "asynchronous")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with pair_of("valkey", "asynchronous", SERVICES) as pair:
        yield pair


def recovers(pair: Pair, began: float) -> str:
    """A job is accepted, done and fetched in time. Returns its id."""
    wait_until(lambda: submit(pair.stack.front).status_code == 202, RECOVERY_SECONDS)
    job_id = hand_in(pair.stack.front)
    done(pair.stack.front, job_id)
    wait_until(pair.all_ready, RECOVERY_SECONDS)
    assert monotonic() - began < RECOVERY_SECONDS
    return job_id


@pytest.mark.parametrize("kind", ["valkey", *OTHERS])
def test_jobs_go_on_after_a_failover_behind_one_address(kind: str) -> None:
    with pair_of(kind, "asynchronous", SERVICES) as pair, ThreadPoolExecutor(8) as threads:
        with hung(pair.stack.servers["predictor"]):
            earlier = list(threads.map(lambda _: hand_in(pair.stack.front), range(20)))  # on as many connections
            pair.replicate()
            pair.fail_over()
            began = monotonic()
        recovers(pair, began)
        done(pair.stack.front, *earlier)
        assert pair.first.client.info("clients")["connected_clients"] < 4  # its replication, and this one


@pytest.mark.parametrize("stale", ["yes", "no"], ids=["READONLY", "MASTERDOWN"])
def test_no_service_is_ready_while_the_server_is_a_replica(pair: Pair, stale: str) -> None:
    client = pair.first.client
    client.config_set("replica-serve-stale-data", stale)
    done(pair.stack.front, hand_in(pair.stack.front))
    client.replicaof("127.0.0.1", pair.link.port + 1)  # nothing is there
    try:
        assert submit(pair.stack.front).status_code == 503
        assert not any(is_ready(pair.stack.servers[name]) for name in SERVICES)
        assert "Redis cannot be used: " in pair.stack.front.log.read_text()
    finally:
        client.replicaof("NO", "ONE")
    recovers(pair, monotonic())


def test_new_jobs_are_done_and_old_ids_are_404_when_the_server_comes_back_empty(pair: Pair) -> None:
    front = pair.stack.front
    with ThreadPoolExecutor(1) as threads, hung(pair.stack.servers["predictor"]):
        lost = hand_in(front)
        before = looks(pair.first.client)
        waiting = threads.submit(front.get, f"/jobs/{lost}?wait=20")
        wait_until(lambda: looks(pair.first.client) > before)  # it has found its job, and waits
        seen = events(front, lost)
        assert next(seen)[0] == "queued"
        pair.link.set(faults.REFUSE)
        pair.first.client.flushall()
        pair.first.client.script_flush()
        pair.link.set(faults.PASS)
        began = monotonic()
        assert waiting.result().status_code == 404
        assert [name for name, _ in seen] == ["gone"]
    recovers(pair, began)
    answer = front.get(f"/jobs/{lost}")
    assert (answer.status_code, "Redis has lost its data" in answer.json()["detail"]) == (404, True)
