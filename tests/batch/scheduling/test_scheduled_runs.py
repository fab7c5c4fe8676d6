"""Runs that schedules start: skipped, caught up, or joined by what an earlier run has left."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.batch.digit_datasets import write_damaged, write_data
from tests.support.batch.manager import ROWS, Manager, assert_read, filled_manager, ids
from tests.support.processes import wait_until

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    with filled_manager(tmp_path_factory.mktemp("batch"), max_concurrent_runs=2) as service:
        yield service


def test_due_time_is_skipped_or_run_while_the_last_run_is_open(shared: Manager) -> None:
    forbids = shared.schedule(input="slow", output="forbid/{date}/{time}")
    allows = shared.schedule(input="scans", output="allow/{time}/{date}", overlap="allow")
    shared.is_due(forbids, ago=120)
    wait_until(lambda: shared.server.get(f"/schedules/{forbids['id']}").json()["last_run"])
    shared.is_due(forbids)
    skipped = wait_until(lambda: shared.server.get(f"/schedules/{forbids['id']}").json()["skipped"])
    assert "overlap=forbid" in skipped
    shared.is_due(allows, ago=120)
    wait_until(lambda: shared.server.get(f"/schedules/{allows['id']}").json()["last_run"])
    shared.is_due(allows)
    assert [run["state"] for run in shared.runs_of(allows, 2)] == ["done", "done"]
    assert [run["state"] for run in shared.runs_of(forbids)] == ["done"]


def test_failed_chunks_join_the_schedules_next_run_with_retry_none(shared: Manager) -> None:
    for day in ("2026-01-01", "2026-01-02"):
        first_id = 100 * int(day[-1])
        write_data(shared.data / "days" / day, 50, first_id=first_id)
    damaged = write_damaged(shared.data / "days" / "2026-01-01" / "b.parquet")
    source = ["days/2026-01-01"]
    schedule = shared.schedule(input=source, output="carry/{date}/{time}", retry="none")
    shared.is_due(schedule, ago=120)
    (first,) = shared.runs_of(schedule)
    assert first["state"] == "done"
    assert first["progress"]["failed_chunks"] == 1
    write_data(shared.data / "days" / "mended", 10, first_id=900)
    (shared.data / "days" / "mended" / "0000.parquet").rename(damaged)
    change_input(shared, schedule, "days/2026-01-02")
    shared.is_due(schedule)
    second = shared.runs_of(schedule, 2)[0]
    assert second["state"] == "done", second
    assert second["deferred_from"] == first["output"]
    assert ids(shared.data / second["output"]) == [*range(200, 250), *range(900, 910)]


def test_chunks_deferred_by_a_late_run_join_the_next_run(shared: Manager) -> None:
    """The first is cancelled, and done only after the second."""
    damaged = write_damaged(shared.data / "late" / "b.parquet")
    source = ["slow", "late"]
    schedule = shared.schedule(input=source, output="in-turn/{date}/{time}", retry="none", overlap="allow")
    shared.is_due(schedule, ago=240)
    first = wait_until(lambda: shared.server.get(f"/schedules/{schedule['id']}").json()["last_run"])["id"]
    shared.with_chunks(first)
    shared.post(f"/runs/{first}/cancel", 202)
    assert shared.ended(first)["state"] == "cancelled"
    change_input(shared, schedule, "scans")
    shared.is_due(schedule, ago=120)
    second = shared.runs_of(schedule, 2)[0]
    assert (second["state"], second["deferred_from"]) == ("done", None)
    shared.post(f"/runs/{first}/retry", 202)
    assert shared.ended(first)["state"] == "done"
    write_data(shared.data / "mended-late", 10, first_id=900)
    (shared.data / "mended-late" / "0000.parquet").rename(damaged)
    for ago, rows in ((60, [*range(ROWS), *range(900, 910)]), (0, [*range(ROWS)])):
        shared.is_due(schedule, ago)
        count = 3 if ago else 4
        assert_read(shared, shared.runs_of(schedule, count)[0]["id"], rows)


def test_chunks_of_a_run_that_is_retried_with_none_join_the_schedules_next_run(shared: Manager) -> None:
    """The schedule itself retries in part, so its first run fails."""
    write_data(shared.data / "partial", 50)
    damaged = write_damaged(shared.data / "partial" / "b.parquet")
    schedule = shared.schedule(input="partial", output="retried/{date}/{time}")
    shared.is_due(schedule, ago=120)
    (first,) = shared.runs_of(schedule)
    assert first["state"] == "failed"
    shared.post(f"/runs/{first['id']}/retry", 202, retry="none")
    assert shared.ended(first["id"])["state"] == "done"
    write_data(shared.data / "mended-partial", 10, first_id=900)
    (shared.data / "mended-partial" / "0000.parquet").rename(damaged)
    change_input(shared, schedule, "scans")
    shared.is_due(schedule)
    second = shared.runs_of(schedule, 2)[0]
    assert (second["state"], second["deferred_from"]) == ("done", first["output"])
    assert ids(shared.data / second["output"]) == [*range(ROWS), *range(900, 910)]


def test_retry_with_none_is_refused_where_no_next_run_would_take_the_chunks(shared: Manager) -> None:
    write_damaged(shared.data / "alone" / "b.parquet")
    schedule = shared.schedule(input="alone", output="alone-out/{date}/{time}")
    shared.is_due(schedule)
    (run,) = shared.runs_of(schedule)
    assert run["state"] == "failed"
    assert shared.server.client.delete(f"/schedules/{schedule['id']}").status_code == 204
    assert "the run has no schedule" in shared.post(f"/runs/{run['id']}/retry", 409, retry="none")["detail"]
    shared.post(f"/runs/{run['id']}/retry", 202, retry="partial")


def change_input(service: Manager, schedule: Any, source: str) -> None:
    """As templates with {date} would: the input of the next due time is another."""
    with closing(sqlite3.connect(service.database, timeout=10)) as registry, registry:
        query = "UPDATE schedules SET request = json_set(request, '$.input', json_array(?)) WHERE id = ?"
        registry.execute(query, (source, schedule["id"]))


def test_missed_due_times_are_caught_up_or_not_and_a_rare_schedule_starts_trials(shared: Manager) -> None:
    latest = shared.schedule(rule="daily", output="latest/{date}", trial_rule="hourly", interval=2)
    none = shared.schedule(rule="daily", output="none/{date}", catch_up="none")
    shared.is_due(latest, ago=3 * 86_400)
    shared.is_due(none, ago=3 * 86_400)
    assert "catch_up=none" in wait_until(lambda: shared.server.get(f"/schedules/{none['id']}").json()["skipped"])
    (run,) = shared.runs_of(latest)
    assert run["due_at"][10:] == "T00:00:00Z"
    assert run["last"] < run["due_at"][:10]
    assert run["first"] < run["last"]
    assert run["state"] == "failed"  # there are no partitions
    assert run["first"] in run["errors"][0]
    assert shared.server.get("/runs").status_code == 200
    assert not shared.server.client.get("/runs", params={"schedule_id": none["id"]}).json()
    tries = shared.schedule(rule="monthly", output="rare/{date}", trial_rule="weekly")
    shared.is_due(tries, column="next_trial")
    (trial,) = shared.runs_of(tries)
    assert trial["trial"]
    assert trial["state"] == "done"
    assert trial["trial_report"]
    assert trial["output"].endswith("/_trial")
