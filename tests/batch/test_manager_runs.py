"""Runs that the manager is asked for: cancelled, failed or late, and resumed."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from socket import create_server

import pytest

from tests.support.batch.digit_datasets import write_damaged, write_data
from tests.support.batch.manager import CHUNKS, ROWS, Manager, assert_read, assert_whole, filled_manager, manager
from tests.support.batch.parquet_data import members, stamps
from tests.support.processes import wait_until

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    with filled_manager(tmp_path_factory.mktemp("batch"), max_concurrent_runs=2) as service:
        yield service


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


def test_run_is_forgotten_with_its_log_when_its_time_is_over_and_its_output_stays(tmp_path: Path) -> None:
    with filled_manager(tmp_path, history_days=3 / 86_400) as service:
        run_id = service.run("out")
        assert_whole(service, service.ended(run_id))
        wait_until(lambda: service.server.get(f"/runs/{run_id}").status_code == 404)
        assert list(service.database.parent.glob("*.log")) == []
        assert (service.data / "out" / "_SUCCESS").exists()


def test_failed_run_is_resumed_in_part_or_as_a_whole_by_retry_policy(shared: Manager) -> None:
    write_data(shared.data / "mended", ROWS, row_group=ROWS)
    damaged = write_damaged(shared.data / "mended" / "b.parquet")
    run_id = shared.run("mended-out", "mended")
    run = shared.ended(run_id)
    assert run["state"] == "failed"
    assert "b.parquet" in run["errors"][0]
    assert str(shared.data) not in json.dumps(run)
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
    for allowed, at_risk in ((60, True), (3_600, False)):
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


def test_run_fails_at_once_with_a_sentence_if_its_output_cannot_be_written(shared: Manager) -> None:
    """Its lock cannot be opened, as that of another owner's; its state is damaged; or it is a table of other tools."""
    busy = [shared.run(f"busy-{number}", "stuck") for number in range(2)]
    locked = shared.run("locked")
    (shared.data / "locked" / "_lock").mkdir(parents=True)
    for run_id in busy:
        shared.post(f"/runs/{run_id}/cancel", 202)
    run = shared.ended(locked)
    assert (run["state"], run["attempts"], run["crashes"]) == ("failed", 1, 0)
    why = "output: locked: nothing can be written there (Is a directory): name another folder"
    assert run["errors"] == [why]
    assert shared.post("/runs", 409, input="scans", output="locked")["detail"] == why
    for name in ("part-0.parquet", "_manifest.json"):
        (shared.data / name.strip("_")).mkdir()
        (shared.data / name.strip("_") / name).write_text("junk")
        said = shared.post("/runs", 409, input="scans", output=name.strip("_"))["detail"]
        assert name in said
        assert str(shared.data) not in said
    assert "Traceback" not in shared.server.log.read_text()


@pytest.mark.mount
def test_run_fails_at_once_on_a_read_only_or_full_disk(shared: Manager) -> None:
    disk = shared.data / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        (disk / "out").mkdir()
        (disk / "out" / "_lock").touch()
        (disk / "filler").write_bytes(bytes(64 * 1024 - 4 * 1024))
        assert_disk_is_reported(shared, "No space left on device", "full")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for output, options in (("out", {}), ("new", {}), ("tried", {"trial": True})):
            assert_disk_is_reported(shared, "Read-only file system", output, **options)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert "Traceback" not in shared.server.log.read_text()


def assert_disk_is_reported(service: Manager, reason: str, output: str, **options: bool) -> None:
    run = service.ended(service.run(f"disk/{output}", **options))
    assert (run["state"], run["attempts"], run["crashes"]) == ("failed", 1, 0)
    (error,) = run["errors"]
    assert error == f"output: {run['output']}: nothing can be written there ({reason}): name another folder"


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
    shared.is_due(one)
    assert [run["state"] for run in shared.runs_of(one)] == ["done"]
    assert shared.server.client.delete(f"/schedules/{one['id']}").status_code == 204
    other = shared.schedule(input="dated/date=2026-01-02", output="shared/{date}")
    shared.is_due(other)
    (run,) = shared.runs_of(other)
    assert run["state"] == "failed"
    assert "holds the results of" in run["errors"][0]
    assert str(shared.data) not in json.dumps(run)


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
    with manager(tmp_path) as service, create_server(("127.0.0.1", 0)) as silent:
        write_data(service.data / "scans", 10)
        service.start(launcher="docker", docker_host=f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        run_id = service.run()
        service.until(run_id, "running")
        assert service.post(f"/runs/{run_id}/cancel", 202)["cancelling"]
        silent.close()
        run = service.ended(run_id)
        assert (run["state"], run["attempts"], run["cancelling"]) == ("cancelled", 1, False)
