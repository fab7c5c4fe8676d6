"""Runs to their end, by the manager: asked for or scheduled, cancelled, failed or late, and taken up again."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socket import create_server
from typing import Any

import pytest

from tests.support.batch.digit_datasets import write_damaged, write_data
from tests.support.batch.manager import CHUNKS, ROWS, Manager, assert_whole, filled, ids, manager
from tests.support.batch.parquet_data import members, stamps
from tests.support.processes import wait_until

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    with filled(tmp_path_factory.mktemp("batch"), max_concurrent_runs=2) as these:
        yield these


# Runs


def test_run_reports_progress_is_cancelled_and_resumes(shared: Manager) -> None:
    run_id = shared.run("cancelled", "slow")
    assert "can be retried" in shared.post(f"/runs/{run_id}/retry", 409)["detail"]
    shared.with_chunks(run_id, 3)
    run = wait_until(lambda: now if (now := shared.get(run_id))["progress"]["chunks"] > 2 else {})
    progress = run["progress"]
    assert 0 < progress["rows"] < progress["rows_total"] == ROWS
    assert progress["chunks"] < progress["chunks_total"] == CHUNKS
    assert progress["rows_per_second"] > 0
    assert progress["eta_seconds"] > 0
    assert shared.post(f"/runs/{run_id}/cancel", 202)["cancelling"]
    run = shared.ended(run_id)
    assert run["state"] == "cancelled"
    wait_until(lambda: not members(run["pid"]))
    done = stamps(shared.data / "cancelled")
    assert not (shared.data / "cancelled" / "_SUCCESS").exists()
    assert shared.post(f"/runs/{run_id}/retry", 202)["state"] == "queued"
    run = shared.ended(run_id)
    assert_whole(shared, run)
    assert run["attempts"] == 2
    assert done.items() <= stamps(shared.data / "cancelled").items()


def test_failed_run_is_resumed_in_part_or_as_a_whole_by_retry_policy(shared: Manager) -> None:
    write_data(shared.data / "mended", ROWS, row_group=ROWS)
    damaged = write_damaged(shared.data / "mended" / "b.parquet")
    run_id = shared.run("mended-out", "mended")
    run = shared.ended(run_id)
    assert run["state"] == "failed"
    assert "b.parquet" in run["errors"][0]
    before = stamps(shared.data / "mended-out")
    write_data(shared.data / "more", 10, first_id=ROWS)
    (shared.data / "more" / "0000.parquet").rename(damaged)
    shared.post(f"/runs/{run_id}/retry", 202)
    assert_whole(shared, shared.ended(run_id), ROWS + 10)
    assert before.items() <= stamps(shared.data / "mended-out").items()


def test_queued_run_is_cancelled_at_once_and_a_trial_publishes_nothing(shared: Manager) -> None:
    trial = shared.run("tried", "scans", trial=True)
    busy = [shared.run(f"busy-{number}", "stuck") for number in range(2)]
    waits = shared.run("waits", "scans")
    assert shared.post(f"/runs/{waits}/cancel", 202)["state"] == "cancelled"
    run = shared.ended(trial)
    assert run["state"] == "done"
    assert run["trial_report"]["mean_confidence"] > 0.5
    assert [path.name for path in (shared.data / "tried").iterdir()] == ["_trial"]
    assert not list((shared.data / "tried").rglob("*.parquet"))
    for run_id in busy:
        shared.post(f"/runs/{run_id}/cancel", 202)
        assert shared.ended(run_id)["state"] == "cancelled"


def test_run_is_at_risk_early_and_stops_or_finishes_after_its_deadline(shared: Manager) -> None:
    write_data(shared.data / "slower", ROWS, row_group=ROWS // CHUNKS, seconds=1)
    finishes = shared.run("late-1", "slower", deadline_seconds=5, on_deadline="finish")
    stops = shared.run("late-2", "stuck", deadline_seconds=4)
    wait_until(lambda: shared.get(finishes)["at_risk"])
    assert shared.ended(stops)["state"] == "late"
    assert shared.ended(finishes)["state"] == "done"
    shared.post(f"/runs/{stops}/retry", 202)  # its deadline begins again
    assert shared.get(stops)["state"] in ("queued", "running")
    shared.post(f"/runs/{stops}/cancel", 202)
    shared.ended(stops)


def test_trial_is_at_risk_if_all_of_the_data_would_miss_the_deadline(shared: Manager) -> None:
    write_data(shared.data / "much", 10 * ROWS, row_group=10, seconds=0.5)
    for allowed, at_risk in ((60, True), (600, False)):
        run = shared.ended(shared.run("tried-in-time", "much", trial=True, deadline_seconds=allowed))
        assert (run["state"], run["at_risk"]) == ("done", at_risk)


def test_file_in_place_of_an_output_fails_only_that_run(shared: Manager) -> None:
    busy = [shared.run(f"busy-{number}", "stuck") for number in range(2)]
    blocked, good = shared.run("blocked"), shared.run("not-blocked")
    (shared.data / "blocked").write_text("no folder")
    for run_id in busy:
        shared.post(f"/runs/{run_id}/cancel", 202)
    assert_whole(shared, shared.ended(good))
    assert shared.ended(blocked)["state"] == "failed"
    assert "expected a folder" in shared.get(blocked)["errors"][0]


def test_finished_output_is_refused_for_other_days(shared: Manager) -> None:
    for day in (1, 2):
        write_data(shared.data / "dated" / f"date=2026-01-0{day}", 10, first_id=100 * day)
    first, second = ({"first": f"2026-01-0{day}", "last": f"2026-01-0{day}"} for day in (1, 2))
    assert_read(shared, shared.run("dated-out", "dated", **first), [*range(100, 110)])
    asked = {"input": "dated", "output": "dated-out"}
    for other in (second, {}, {"first": "2026-01-01"}):
        assert "2026-01-01 to 2026-01-01" in shared.post("/runs", 409, **asked, **other)["detail"]
    assert_read(shared, shared.run("dated-out", "dated", **first), [*range(100, 110)])

    one = shared.schedule(input="dated/date=2026-01-01", output="shared/{date}")
    other = shared.schedule(input="dated/date=2026-01-02", output="shared/{date}")
    shared.is_due(one)
    assert [run["state"] for run in shared.runs_of(one)] == ["done"]
    shared.is_due(other)
    (run,) = shared.runs_of(other)
    assert run["state"] == "failed"
    assert "holds the results of" in run["errors"][0]


def assert_read(these: Manager, run_id: str, rows: list[int]) -> None:
    run = these.ended(run_id)
    assert run["state"] == "done", run
    assert ids(these.data / run["output"]) == rows


def test_retry_policy_is_kept_while_no_job_can_be_started(shared: Manager) -> None:
    write_data(shared.data / "rewritten", 50)
    damaged = write_damaged(shared.data / "rewritten" / "b.parquet")
    run_id = shared.run("rewritten-out", "rewritten")
    assert shared.ended(run_id)["state"] == "failed"
    before = stamps(shared.data / "rewritten-out")
    damaged.unlink()
    jobs = shared.database.parent / "jobs"
    away = jobs.rename(jobs.with_name("away"))
    jobs.write_text("no folder")
    shared.post(f"/runs/{run_id}/retry", 202, retry="all")
    wait_until(lambda: shared.get(run_id)["crashes"])
    jobs.unlink()
    away.rename(jobs)
    assert_read(shared, run_id, [*range(50)])
    assert not before.items() & stamps(shared.data / "rewritten-out").items()


def test_run_is_cancelled_while_its_container_cannot_be_started(tmp_path: Path) -> None:
    """Docker takes the request and says nothing, until it goes."""
    with manager(tmp_path) as these, create_server(("127.0.0.1", 0)) as silent:
        write_data(these.data / "scans", 10)
        these.start(launcher="docker", docker_host=f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        run_id = these.run()
        these.until(run_id, "running")
        assert these.post(f"/runs/{run_id}/cancel", 202)["cancelling"]
        silent.close()
        run = these.ended(run_id)
        assert (run["state"], run["attempts"], run["cancelling"]) == ("cancelled", 1, False)


# Schedules


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


def change_input(these: Manager, schedule: Any, source: str) -> None:
    """As templates with {date} would: the input of the next due time is another."""
    with closing(sqlite3.connect(these.database, timeout=10)) as registry, registry:
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
