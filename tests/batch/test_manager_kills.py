"""The manager, its job or both are killed or ended: runs and schedules survive, and each run is closed once."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.batch.manager import Manager, assert_whole, filled_manager
from tests.support.batch.parquet_data import kill, members, stamps
from tests.support.processes import wait_until

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    """One that is killed again and again."""
    with filled_manager(tmp_path_factory.mktemp("killed"), max_crashes=2) as service:
        yield service


@pytest.fixture
def own(killed: Manager) -> Manager:
    """One that runs now, and may be killed."""
    if killed.server.process.poll() is not None:
        killed.start()
    return killed


def test_due_time_is_triggered_once_however_often_the_manager_is_killed(own: Manager) -> None:
    schedule = own.schedule()
    own.kill()
    due = own.is_due(schedule, ago=5)
    for _ in range(2):
        own.start()
        wait_until(lambda: own.server.get(f"/schedules/{schedule['id']}").json()["next_due"][:23] != due[:23])
        own.kill()
    own.start()
    (run,) = own.runs_of(schedule)
    assert_whole(own, run)
    assert run["due_at"][:23] == due[:23]
    (kept,) = own.server.get("/schedules").json()
    assert {name: kept[name] for name in ("id", "rule", "next_due", "created_at")} == {
        name: schedule[name] for name in ("id", "rule", "next_due", "created_at")
    }


def test_run_goes_on_and_is_finished_once_if_the_manager_is_killed(own: Manager) -> None:
    run_id = own.run("goes-on", "slow")
    pid = own.with_chunks(run_id)["pid"]
    own.kill()
    assert members(pid)
    own.start()
    run = own.ended(run_id)
    assert_whole(own, run)
    assert (run["attempts"], run["crashes"], run["pid"]) == (1, 0, pid)


def test_killed_job_is_resumed_and_a_run_fails_after_too_many_crashes(own: Manager) -> None:
    run_id = own.run("is-killed", "slow")
    kill(own.with_chunks(run_id, 3)["pid"])
    run = own.ended(run_id)
    assert_whole(own, run)
    assert (run["attempts"], run["crashes"]) == (2, 1)
    run_id = own.run("dies", "stuck")
    for attempt in (1, 2):
        kill(wait_until(lambda n=attempt: pid_of_attempt(own.get(run_id), n)))  # type: ignore[misc]
    run = own.ended(run_id)
    assert run["state"] == "failed"
    assert "without a result" in run["errors"][0]


def pid_of_attempt(run: Any, number: int) -> Any:
    """Its job's, once it is there."""
    return run["pid"] if (run["attempts"], run["state"]) == (number, "running") else None


def test_run_is_resumed_once_if_manager_and_job_are_killed(own: Manager) -> None:
    run_id = own.run("both-killed", "slow")
    run = own.with_chunks(run_id, 3)
    done = stamps(own.data / "both-killed")
    own.kill()
    kill(run["pid"])
    own.start()
    run = own.ended(run_id)
    assert_whole(own, run)
    assert run["attempts"] == 2
    assert done.items() <= stamps(own.data / "both-killed").items()


def test_stopped_manager_stops_its_job_and_the_next_manager_resumes_it(own: Manager) -> None:
    run_id = own.run("ended", "slow")
    for chunks, number in ((1, signal.SIGTERM), (3, signal.SIGINT)):
        pid = own.with_chunks(run_id, chunks)["pid"]
        own.stop(number)
        wait_until(lambda pid=pid: not members(pid))  # type: ignore[misc]
        assert not (own.data / "ended" / "_SUCCESS").exists()
        own.start()
    run = own.ended(run_id)
    assert_whole(own, run)
    assert (run["attempts"], run["crashes"]) == (3, 0)
