"""The manager with real jobs: runs, refusals, schedules, and what is left of both when somebody is killed."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.batch_data import kill, members, stamps
from tests.datasets import write_damaged, write_data
from tests.managers import Manager, ids, manager
from tests.processes import wait_until
from tests.servers import MLP, slow_reader
from tests.test_playground import ARGUMENTS

ROWS, CHUNKS = 200, 10


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = Path(slow_reader(tmp_path_factory.mktemp("model") / "mlp.onnx"))
    shutil.copy(MLP.with_suffix(".json"), model.with_suffix(".json"))
    return model


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, slow: Path) -> Iterator[Manager]:
    with manager(tmp_path_factory.mktemp("batch"), model_uri=slow, max_running=2) as these:
        fill(these)
        these.start()
        yield these


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, slow: Path) -> Iterator[Manager]:
    """One that is killed again and again."""
    with manager(tmp_path_factory.mktemp("killed"), model_uri=slow, max_deaths=2) as these:
        fill(these)
        these.start()
        yield these


@pytest.fixture
def own(killed: Manager) -> Manager:
    """One that runs now, and may be killed."""
    if killed.server.process.poll() is not None:
        killed.start()
    return killed


def fill(these: Manager) -> None:
    """`scans`, read at once; `slow`, as many rows in 10 chunks of 0.15 s; `stuck`, in chunks that take long."""
    write_data(these.data / "scans", ROWS, files=2, row_group=ROWS)
    write_data(these.data / "slow", ROWS, row_group=ROWS // CHUNKS, seconds=0.15)
    write_data(these.data / "stuck", 4, row_group=1, seconds=10)


def make_links(these: Manager) -> None:
    """Such as lead out of the data root, or nowhere."""
    for name, target in (("link", "/usr"), ("loop", "loop"), ("with-link/out.parquet", "/etc/passwd")):
        link = these.data / name
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target)


def assert_whole(these: Manager, run: Any, rows: int = ROWS) -> None:
    """It is done, every row is there once, and nothing is left of its job."""
    assert run["state"] == "done", run
    assert ids(these.data / run["output"]) == list(range(rows))
    assert run["progress"]["rows"] == run["progress"]["rows_total"] == rows
    assert (these.data / run["output"] / "_SUCCESS").exists()
    assert not list((these.database.parent / "jobs").glob(f"{run['id']}.lock"))
    wait_until(lambda: not members(run["pid"]))


# Quick: one job


def test_a_run_is_done_and_its_history_knows_the_model_and_the_data(shared: Manager, slow: Path) -> None:
    before = shared.server.metric("rows_done_total")
    response = shared.server.client.post("/runs", json={"input": "scans", "output": str(shared.data / "abs/olute")})
    assert response.status_code == 201
    run_id = response.json()["id"]
    assert response.headers["Location"] == f"/runs/{run_id}"
    assert response.json()["output"] == "abs/olute"
    taken = shared.post("/runs", 409, input="slow", output="abs/../abs/olute")
    assert run_id in taken["detail"]
    run = shared.ended(run_id)
    assert_whole(shared, run)
    assert run["model"]["sha256"] == sha256(slow.read_bytes()).hexdigest()
    assert len(run["data_checksum"]) == 64
    assert run["attempts"] == 1
    assert run["created_at"] < run["started_at"] < run["finished_at"]
    assert shared.server.metric("rows_done_total") == before + ROWS
    wait_until(lambda: shared.server.metric("runs", state="done") >= 1)
    assert run in shared.server.get("/runs?state=done").json()
    assert shared.server.get("/runs?state=done&count=1").json()[0]["finished_at"]
    for action in ("cancel", "retry"):
        assert "done" in shared.post(f"/runs/{run_id}/{action}", 409)["detail"]
    assert "answers to" in shared.post("/runs", 409, input="slow", output="abs/olute")["detail"]


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("../elsewhere", "out"),
        ("/etc", "out"),
        ("scans", "../out"),
        ("scans", "/tmp/out"),
        ("scans", "a/../../out"),
        ("link", "out"),
        ("link/inner", "out"),
        ("scans", "link/out"),
        ("with-link", "out"),
        ("loop", "out"),
        ("s3://bucket/scans", "out"),
        ("scans", "scans"),
        ("scans", "scans/out"),
        ("scans", "."),
        ("a/b", "a"),
        (["slow", "scans"], "scans"),
        ("scans\0", "out"),
        ("x" * 300, "out"),
        ("", "out"),
        ([], "out"),
        (7, "out"),
    ],
)
def test_paths_that_lead_out_of_data_root_or_into_each_other_are_refused(
    shared: Manager, source: object, output: str
) -> None:
    make_links(shared)
    response = shared.server.client.post("/runs", json={"input": source, "output": output})
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("source", "output"), [("scans", "../{date}"), ("link", "{date}"), ("scans", "scans/{date}"), ("{date}", "{date}")]
)
def test_paths_of_schedules_are_refused_just_so(shared: Manager, source: str, output: str) -> None:
    make_links(shared)
    refused = shared.post("/schedules", 422, name="a", rule="monthly", input=source, output=output)
    assert "leads out of it" in refused["detail"] or "a folder apart" in refused["detail"]


def test_what_is_unknown_is_404_and_what_is_no_request_422(shared: Manager) -> None:
    unknown = "00000000-0000-0000-0000-000000000000"
    for method, path in (
        ("GET", f"/runs/{unknown}"),
        ("POST", f"/runs/{unknown}/cancel"),
        ("POST", f"/runs/{unknown}/retry"),
        ("GET", f"/schedules/{unknown}"),
        ("DELETE", f"/schedules/{unknown}"),
    ):
        assert shared.server.client.request(method, path).status_code == 404
    assert shared.server.get("/runs/first").status_code == 422
    assert shared.server.get("/runs?state=lost").status_code == 422
    assert "Extra inputs" in shared.post("/runs", 422, input="scans", output="out", outptu="out")["detail"]
    assert (
        "first <= last"
        in shared.post("/runs", 422, input="a", output="b", first="2026-02-02", last="2026-02-01")["detail"]
    )
    shared.post("/runs", 422, input="scans", output="out", deadline_seconds=0)


def test_a_schedule_is_kept_listed_and_removed(shared: Manager) -> None:
    schedule = shared.schedule(rule="daily", time_zone="Europe/Berlin", output="out/{date}")
    assert schedule["next_due"] in [f"{day}T{hour}:00:00Z" for hour in (22, 23) for day in [schedule["next_due"][:10]]]
    assert schedule in shared.server.get("/schedules").json()
    assert shared.server.client.delete(f"/schedules/{schedule['id']}").status_code == 204
    assert schedule not in shared.server.get("/schedules").json()


# Runs


@pytest.mark.full
def test_a_run_tells_its_progress_is_cancelled_and_taken_up_where_it_was(shared: Manager) -> None:
    run_id = shared.run("cancelled", "slow")
    assert "can be taken up again" in shared.post(f"/runs/{run_id}/retry", 409)["detail"]
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


@pytest.mark.full
def test_a_failed_run_is_taken_up_in_part_or_as_a_whole_as_the_retry_says(shared: Manager) -> None:
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


@pytest.mark.full
def test_what_waits_is_cancelled_at_once_and_a_trial_publishes_nothing(shared: Manager) -> None:
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


@pytest.mark.full
def test_a_run_says_early_that_it_will_miss_its_deadline_and_stops_or_finishes_late(shared: Manager) -> None:
    finishes = shared.run("late-1", "slow", deadline_seconds=3, on_deadline="finish")
    stops = shared.run("late-2", "stuck", deadline_seconds=4)
    wait_until(lambda: shared.get(finishes)["at_risk"])
    assert shared.ended(stops)["state"] == "late"
    assert shared.ended(finishes)["state"] == "done"
    shared.post(f"/runs/{stops}/retry", 202)  # its deadline begins anew
    assert shared.get(stops)["state"] in ("queued", "running")
    shared.post(f"/runs/{stops}/cancel", 202)
    shared.ended(stops)


# Schedules


@pytest.mark.full
def test_while_a_run_is_open_the_next_is_left_out_or_run_as_well(shared: Manager) -> None:
    forbids = shared.schedule(input="slow", output="forbid/{date}/{time}")
    allows = shared.schedule(input="scans", output="allow/{time}/{date}", overlap="allow")
    shared.is_due(forbids, ago=120)
    wait_until(lambda: shared.server.get(f"/schedules/{forbids['id']}").json()["last_run"])
    shared.is_due(forbids)
    left_out = wait_until(lambda: shared.server.get(f"/schedules/{forbids['id']}").json()["left_out"])
    assert "overlap=forbid" in left_out
    shared.is_due(allows, ago=120)
    wait_until(lambda: shared.server.get(f"/schedules/{allows['id']}").json()["last_run"])
    shared.is_due(allows)
    assert [run["state"] for run in shared.runs_of(allows, 2)] == ["done", "done"]
    assert [run["state"] for run in shared.runs_of(forbids)] == ["done"]


@pytest.mark.full
def test_what_failed_joins_the_schedules_next_run_where_nothing_is_retried(shared: Manager) -> None:
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
    assert second["carry_over_from"] == first["output"]
    assert ids(shared.data / second["output"]) == [*range(200, 250), *range(900, 910)]


def change_input(these: Manager, schedule: Any, source: str) -> None:
    """As templates with {date} would: the input of the next due time is another."""
    with closing(sqlite3.connect(these.database, timeout=10)) as registry, registry:
        query = "UPDATE schedules SET form = json_set(form, '$.input', json_array(?)) WHERE id = ?"
        registry.execute(query, (source, schedule["id"]))


@pytest.mark.full
def test_what_was_missed_is_caught_up_or_not_and_a_rare_schedule_makes_trials(shared: Manager) -> None:
    latest = shared.schedule(rule="daily", output="latest/{date}", trial_rule="hourly", interval=2)
    none = shared.schedule(rule="daily", output="none/{date}", catch_up="none")
    shared.is_due(latest, ago=3 * 86_400)
    shared.is_due(none, ago=3 * 86_400)
    assert "catch_up=none" in wait_until(lambda: shared.server.get(f"/schedules/{none['id']}").json()["left_out"])
    (run,) = shared.runs_of(latest)
    assert run["due_at"][10:] == "T00:00:00Z"
    assert run["last"] < run["due_at"][:10]
    assert run["first"] < run["last"]
    assert run["state"] == "failed"  # there are no partitions
    assert run["first"] in run["errors"][0]
    assert (
        shared.server.get(
            "/runs",
        ).status_code
        == 200
    )
    assert not shared.server.client.get("/runs", params={"schedule_id": none["id"]}).json()
    tries = shared.schedule(rule="monthly", output="rare/{date}", trial_rule="weekly")
    shared.is_due(tries, column="next_trial")
    (trial,) = shared.runs_of(tries)
    assert trial["trial"]
    assert trial["state"] == "done"
    assert trial["trial_report"]
    assert trial["output"].endswith("/_trial")


@pytest.mark.full
def test_schedules_survive_and_a_due_time_fires_once_however_often_the_manager_is_killed(own: Manager) -> None:
    schedule = own.schedule()
    own.kill()
    due = own.is_due(schedule, ago=5)
    for _ in range(2):
        own.start()
        wait_until(lambda: own.server.get(f"/schedules/{schedule['id']}").json()["next_due"] != due)
        own.kill()
    own.start()
    (run,) = own.runs_of(schedule)
    assert_whole(own, run)
    assert run["due_at"][:23] == due[:23]
    (kept,) = own.server.get("/schedules").json()
    assert {name: kept[name] for name in ("id", "rule", "next_due", "created_at")} == {
        name: schedule[name] for name in ("id", "rule", "next_due", "created_at")
    }


# Somebody is killed


@pytest.mark.full
def test_the_manager_is_killed_and_the_run_goes_on_and_is_closed_once(own: Manager) -> None:
    run_id = own.run("goes-on", "slow")
    pid = own.with_chunks(run_id)["pid"]
    own.kill()
    assert members(pid)
    own.start()
    run = own.ended(run_id)
    assert_whole(own, run)
    assert (run["attempts"], run["deaths"], run["pid"]) == (1, 0, pid)


@pytest.mark.full
def test_a_job_that_is_killed_is_taken_up_again_and_one_that_always_dies_has_failed(own: Manager) -> None:
    run_id = own.run("is-killed", "slow")
    kill(own.with_chunks(run_id, 3)["pid"])
    run = own.ended(run_id)
    assert_whole(own, run)
    assert (run["attempts"], run["deaths"]) == (2, 1)
    run_id = own.run("dies", "stuck")
    for attempt in (1, 2):
        wait_until(lambda n=attempt: (run := own.get(run_id))["attempts"] == n and run["pid"])  # type: ignore[misc]
        kill(own.get(run_id)["pid"])
    run = own.ended(run_id)
    assert run["state"] == "failed"
    assert "without a word" in run["errors"][0]


@pytest.mark.full
def test_manager_and_job_are_killed_and_the_run_is_taken_up_once(own: Manager) -> None:
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


@pytest.mark.full
def test_a_manager_that_is_told_to_end_ends_its_job_and_the_next_takes_it_up(own: Manager) -> None:
    run_id = own.run("ended", "slow")
    for chunks, number in ((1, signal.SIGTERM), (3, signal.SIGINT)):
        pid = own.with_chunks(run_id, chunks)["pid"]
        own.stop(number)
        wait_until(lambda pid=pid: not members(pid))  # type: ignore[misc]
        assert not (own.data / "ended" / "_SUCCESS").exists()
        own.start()
    run = own.ended(run_id)
    assert_whole(own, run)
    assert (run["attempts"], run["deaths"]) == (3, 0)


# The page


@pytest.mark.full
@pytest.mark.browser
def test_the_page_starts_shows_cancels_and_retries_a_run_and_shows_names_as_text(shared: Manager) -> None:
    program = next(path for path in ("/usr/bin/chromium", "/usr/bin/google-chrome") if Path(path).exists())
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS, env=dict(os.environ))
        page = browser.new_page(viewport={"width": 400, "height": 900})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(dialog.message))
        page.goto(shared.server.url)
        page.get_by_label("Input").fill("slow")
        page.get_by_label("Output").fill("page/<img src=x onerror=alert(1)>")
        page.get_by_role("button", name="Start").click()
        row = page.locator("li.run").filter(has_text="page/<img src=x onerror=alert(1)>")
        expect(row.locator(".state")).to_have_text("running")
        expect(row.locator(".figures")).to_contain_text("s to go")
        row.get_by_role("button", name="Cancel").click()
        expect(row.locator(".state")).to_have_text("cancelled", timeout=15_000)
        row.get_by_role("button", name="Retry").click()
        expect(row.locator(".state")).to_have_text("done", timeout=20_000)
        expect(row.locator(".figures")).to_contain_text(f"{ROWS} of {ROWS} rows, {CHUNKS} of {CHUNKS} chunks")
        assert page.locator("img").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.get_by_label("Output").fill("../out")
        page.get_by_role("button", name="Start").click()
        expect(page.locator("#start-problem")).to_contain_text("leads out of it")
        browser.close()
    assert errors == []
