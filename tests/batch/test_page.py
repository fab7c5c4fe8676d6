"""The manager's page in a browser: what it starts, shows and explains, and what it says when the manager is away."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import Locator, Page, Route, expect

from batch.engines.installed import EngineMissing
from batch.launchers.process import ProcessLauncher
from batch.page.serve import add_page
from tests.support.batch.digit_datasets import write_data
from tests.support.batch.manager import CHUNKS, ROWS, Manager, filled_manager
from tests.support.browsers import chromium, opened
from tests.support.processes import wait_until

pytestmark = [pytest.mark.full, pytest.mark.browser]

REFUSED = "Failed to load resource: the server responded with a status of 422"
"""What a browser logs where the page shows why something was refused."""
COLOUR = "state => getComputedStyle(state).backgroundColor"
LONG_MS = 60_000
"""For what a job does while many others are at work."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    with filled_manager(tmp_path_factory.mktemp("batch"), max_concurrent_runs=2) as service:
        yield service


def row_of(page: Page, output: str) -> Locator:
    return page.locator("li.run").filter(has_text=f"→ {output}")


def test_page_starts_shows_cancels_and_retries_a_run_and_shows_names_as_text(shared: Manager) -> None:
    write_data(shared.data / "watched", ROWS, row_group=ROWS // CHUNKS, seconds=1)  # the page looks every second
    with chromium() as browser, opened(browser, shared.server.url, REFUSED, width=400) as page:
        expect(page.locator("#pattern-tabs [aria-current=page]")).to_have_text("batch")
        start = page.locator("#start")
        start.get_by_label("Input").fill("watched")
        start.get_by_label("Output").fill("page/<img src=x onerror=alert(1)>")
        start.get_by_role("button", name="Start").click()
        row = page.locator("li.run").filter(has_text="page/<img src=x onerror=alert(1)>")
        expect(row.locator(".state")).to_have_text("running")
        expect(row.locator(".figures")).to_contain_text("s to go")
        colours = [row.locator(".state").evaluate(COLOUR)]
        expect(page.locator("#pattern #predictor.lit, #pattern #client.lit")).to_have_count(2)
        expect(page.locator("#pattern .lit:is(#dask, #spark, #clock)")).to_have_count(0)
        expect(page.locator("#pattern [data-progress]")).to_contain_text(f"of {ROWS} rows")
        row.get_by_role("button", name="Cancel").click()
        expect(row.locator(".state")).to_have_text("cancelled", timeout=15_000)
        colours.append(row.locator(".state").evaluate(COLOUR))
        row.get_by_role("button", name="Retry").click()
        expect(row.locator(".state")).to_have_text("done", timeout=60_000)
        colours.append(row.locator(".state").evaluate(COLOUR))
        assert len({*colours}) == 3
        expect(row.locator(".figures")).to_contain_text(f"{ROWS} of {ROWS} rows, {CHUNKS} of {CHUNKS} chunks")
        expect(page.locator("#pattern .lit")).to_have_count(0)
        row.get_by_text("Details").click()
        expect(row.get_by_role("row", name="rows")).to_contain_text(f"{ROWS} in, {ROWS} out, 0 rejected, 0 deferred")
        assert page.locator("img").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        start.get_by_label("Output").fill("../out")
        start.get_by_role("button", name="Start").click()
        expect(page.locator("#start-problem")).to_contain_text("leads out of it")


def test_page_adds_a_schedule_says_what_is_wrong_with_one_shows_due_times_in_its_zone_and_removes_it(
    shared: Manager,
) -> None:
    with chromium() as browser, opened(browser, shared.server.url, REFUSED, zone="America/New_York") as page:
        form = page.locator("#add-schedule")
        expect(form.get_by_label("Time zone")).to_have_value("America/New_York")
        form.get_by_label("Deadline, in seconds").focus()
        page.keyboard.press("Tab")
        page.keyboard.press("End")
        retry = form.get_by_label("Retry")
        expect(retry).to_be_focused()
        expect(retry).to_have_value("none")
        expect(retry).to_have_accessible_description(re.compile("^No chunk is tried twice"))
        for label, value in (
            ("Name", "from the page"),
            ("Rule", "every day"),
            ("Time zone", "Asia/Tokyo"),
            ("Input", "scans"),
        ):
            form.get_by_label(label).fill(value)
        form.get_by_role("button", name="Add").click()
        expect(page.locator("#schedule-problem")).to_contain_text("rule: expected hourly, daily")
        expect(page.locator("#schedule-problem")).not_to_contain_text("from the page")  # the whole body, cut off
        form.get_by_label("Rule").fill("30 5 * * *")
        form.get_by_role("button", name="Add").click()
        row = page.locator("#schedules li").filter(has_text="from the page")
        expect(row).to_contain_text("scans → readings/{date} · retry none")
        expect(row).to_contain_text("5:30:00 GMT+9")
        row.get_by_role("button", name="Remove").click()
        expect(row).to_have_count(0)


def test_due_times_that_were_skipped_are_in_the_zone_of_the_schedule(shared: Manager) -> None:
    schedule = shared.schedule(name="skips", time_zone="Asia/Tokyo", catch_up="none")
    shared.is_due(schedule, ago=3 * 86_400)
    wait_until(lambda: shared.server.get(f"/schedules/{schedule['id']}").json()["skipped"])
    with chromium() as browser, opened(browser, shared.server.url) as page:
        row = page.locator("#schedules li").filter(has_text="skips")
        expect(row).to_contain_text(re.compile(r"next [^·]+ GMT\+9 · skipped: [^Z]+ GMT\+9 and after: missed"))
    shared.server.client.delete(f"/schedules/{schedule['id']}")


def test_page_gives_the_command_that_breaks_the_manager(shared: Manager) -> None:
    with chromium() as browser, opened(browser, shared.server.url) as page:
        card = page.locator("#break-card")
        card.get_by_text("Break it").click()
        card.get_by_label("how").select_option("hang")
        expect(card.locator("pre")).to_have_text("make break SERVICE=batch HOW=hang")


def test_item_that_cannot_be_shown_and_unknown_time_zone_do_not_stop_the_others(shared: Manager) -> None:
    odd, usual = shared.schedule(name="odd"), shared.schedule(name="usual", time_zone="Asia/Tokyo")
    shared.has_zone(odd, "No/Where")
    for output in ("cannot-be-shown", "can-be-shown"):
        shared.ended(shared.run(output))

    def without_input(route: Route) -> None:
        runs = httpx.get(route.request.url).json()
        route.fulfill(json=[run | {"input": None} if run["output"] == "cannot-be-shown" else run for run in runs])

    with chromium() as browser, opened(browser, shared.server.url) as page:
        expect(page.locator("#schedules li").filter(has_text="odd")).to_contain_text("0:00:00 UTC")
        expect(page.locator("#schedules li").filter(has_text="usual")).to_contain_text("0:00:00 GMT+9")
        page.route("**/runs?*", without_input)
        page.reload()
        expect(page.locator("li.run").filter(has_text="It cannot be shown: ")).to_have_count(1)
        expect(row_of(page, "can-be-shown").locator(".state")).to_have_text("done")
        expect(page.locator("#connection")).to_be_hidden()
    for schedule in (odd, usual):
        shared.server.client.delete(f"/schedules/{schedule['id']}")


def test_page_says_since_when_a_manager_that_hangs_or_is_killed_does_not_answer(tmp_path: Path) -> None:
    lost, lit = "Failed to load resource: net::ERR_CONNECTION_REFUSED", "#pattern :is(#job, #predictor).lit"
    with filled_manager(tmp_path) as manager, chromium() as browser, opened(browser, manager.server.url, lost) as page:
        manager.with_chunks(manager.run("long", "stuck"))
        state, notice = row_of(page, "long").locator(".state"), page.locator("#connection")
        expect(page.locator(lit)).to_have_count(2)
        green = state.evaluate(COLOUR)
        manager.server.process.send_signal(signal.SIGSTOP)
        try:
            expect(notice).to_have_text(
                re.compile(r"^The manager does not answer: no answer within 5 s\. It reported last at \d+:\d+:\d+; ")
            )
            expect(page.locator("#pattern .lit")).to_have_count(0)
            expect(page.locator("#pattern #manager.failed")).to_have_count(1)
            expect(page.locator("#pattern [data-reason=manager]")).to_contain_text("no report since ")
            assert state.evaluate(COLOUR) != green
        finally:
            manager.server.process.send_signal(signal.SIGCONT)
        expect(notice).to_be_hidden()
        expect(page.locator(lit)).to_have_count(2)
        expect(page.locator("#pattern .failed")).to_have_count(0)
        assert state.evaluate(COLOUR) == green
        manager.kill()
        expect(notice).to_contain_text("The manager does not answer: no connection")
        expect(page.locator("#pattern #manager.failed")).to_have_count(1)
        expect(page.locator("#pattern .lit")).to_have_count(0)


def test_diagram_shows_why_a_run_failed_or_is_late_and_data_is_explained_until_a_run_is_done(tmp_path: Path) -> None:
    with filled_manager(tmp_path) as manager, chromium() as browser, opened(browser, manager.server.url) as page:
        job, reason = page.locator("#pattern #job"), page.locator("#pattern [data-reason=job]")
        data, why = page.locator("#sample-data pre"), page.locator("#pattern-problem")
        expect(data.first).to_be_visible()
        manager.run("failed", "a-folder-that-is-not-there")
        expect(job).to_have_class("failed", timeout=LONG_MS)
        expect(reason).to_contain_text("failed: a-folder-that-is-not-there")
        expect(why).to_contain_text("a-folder-that-is-not-there: there is no such file or folder")
        title, text = job.locator("text").first.bounding_box(), reason.bounding_box()
        assert title
        assert text
        assert title["x"] + title["width"] < text["x"]
        expect(data.first).to_be_visible()
        manager.run("late", "stuck", deadline_seconds=0.5)
        expect(job).to_have_class("partial", timeout=LONG_MS)
        expect(reason).to_contain_text("late: the deadline")
        manager.run("done")
        expect(row_of(page, "done").locator(".state")).to_have_text("done", timeout=LONG_MS)
        expect(page.locator("#pattern :is(.failed, .partial, .lit)")).to_have_count(0)
        expect(reason).to_have_text("a process, a container, or a Kubernetes Job")
        expect(why).to_be_hidden()
        expect(data.first).to_be_hidden()


def test_diagram_shows_the_engine_that_a_run_failed_for(tmp_path: Path) -> None:
    with (
        filled_manager(tmp_path, spark_master="spark://127.0.0.1:1") as manager,
        chromium() as browser,
        opened(browser, manager.server.url) as page,
    ):
        manager.run("by-spark", engine="spark")
        expect(page.locator("#pattern #spark.failed")).to_have_count(1, timeout=LONG_MS)
        expect(page.locator("#pattern #dask.failed")).to_have_count(0)
        expect(page.locator("#pattern-problem")).to_contain_text("nothing listens there")


def test_page_says_which_engines_are_not_installed(shared: Manager, tmp_path: Path) -> None:
    class WithoutSpark(ProcessLauncher):
        def require_engine(self, engine: str) -> None:
            if engine == "spark":
                raise EngineMissing("engine: spark is in another image")

    app = FastAPI()
    add_page(app, WithoutSpark(tmp_path))
    missing = TestClient(app).get("/page/engines").json()
    assert missing == {"spark": "engine: spark is in another image"}
    with chromium() as browser, opened(browser, shared.server.url) as page:
        page.route("**/page/engines", lambda route: route.fulfill(json=missing))
        page.reload()
        expect(page.locator("#pattern [data-reason=spark]")).to_have_text("not installed here")
        expect(page.locator("#pattern [data-reason=dask]")).to_have_text("the same chunks")
        engine = page.locator("#start").get_by_label("Engine")
        engine.select_option("spark")
        expect(engine.locator("option:checked")).to_have_text("spark (not installed here)")
        expect(engine).to_have_accessible_description("engine: spark is in another image")


@pytest.mark.parametrize("width", [390, 1280])
def test_page_has_no_hole_between_its_cards(shared: Manager, width: int) -> None:
    with chromium() as browser, opened(browser, shared.server.url, width=width) as page:
        boxes = [card.bounding_box() for card in page.locator("main > .card").all()]
        assert len({(box["x"], box["width"]) for box in boxes if box}) == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width
