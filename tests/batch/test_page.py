"""The manager's page in a browser: what it starts, shows and explains."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.support.batch.digit_datasets import write_data
from tests.support.batch.manager import CHUNKS, ROWS, Manager, filled_manager
from tests.support.browsers import chromium, opened

pytestmark = [pytest.mark.full, pytest.mark.browser]

REFUSED = "Failed to load resource: the server responded with a status of 422"
"""What a browser logs where the page shows why something was refused."""
COLOUR = "state => getComputedStyle(state).backgroundColor"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    with filled_manager(tmp_path_factory.mktemp("batch"), max_concurrent_runs=2) as service:
        yield service


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
        expect(row).to_contain_text("scans → readings/{date}")
        expect(row).to_contain_text("5:30:00 GMT+9")
        row.get_by_role("button", name="Remove").click()
        expect(row).to_have_count(0)


def test_page_gives_the_command_that_breaks_the_manager(shared: Manager) -> None:
    with chromium() as browser, opened(browser, shared.server.url) as page:
        card = page.locator("#break-card")
        card.get_by_text("Break it").click()
        card.get_by_label("how").select_option("hang")
        expect(card.locator("pre")).to_have_text("make break SERVICE=batch HOW=hang")
