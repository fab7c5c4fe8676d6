"""The pages by axe-core's rules: names, roles, contrast, what a keyboard reaches."""

from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.support.batch.manager import filled_manager
from tests.support.browsers import draw, expect_digit, opened
from tests.support.service_process import serving

pytestmark = [pytest.mark.full, pytest.mark.browser]

BACKGROUND = "part => getComputedStyle(part).backgroundColor"
schemes = pytest.mark.parametrize("scheme", ["light", "dark"])


def serious_violations(page: Page, scheme: str) -> list[str]:
    """What axe-core finds serious or critical, once all that is folded away is open."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    found = Axe().run(page).response["violations"]
    nodes = [(one, node) for one in found if one["impact"] in ("serious", "critical") for node in one["nodes"]]
    return [f"{one['id']}: {node['html']}: {node['failureSummary']}" for one, node in nodes]


@schemes
def test_axe_finds_nothing_serious_on_the_playground(browser: Browser, scheme: str) -> None:
    with serving() as server, opened(browser, server.url, "Failed to load resource: ") as page:  # the empty paper's 422
        assert serious_violations(page, scheme) == []
        draw(page, 7)
        expect_digit(page, 7)
        expect(page.locator("#journey-diagram #answer.lit")).to_have_count(1)
        assert serious_violations(page, scheme) == []
        page.click("#clear-pad")
        page.click("#read-now")
        expect(page.locator("#answer-card.failed")).to_have_count(1)
        assert serious_violations(page, scheme) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_bars_are_seen_in_forced_colours(browser: Browser, scheme: Literal["light", "dark"]) -> None:
    """There a browser replaces each background by that of the page, but for the system's own colours."""
    with serving() as server, opened(browser, server.url) as page:
        page.emulate_media(forced_colors="active", color_scheme=scheme, reduced_motion="reduce")
        draw(page, 7)
        expect_digit(page, 7)
        ground = page.locator("body").evaluate(BACKGROUND)
        for bar in page.locator("#answer-bars .bar, #pen-dot").all():
            assert bar.evaluate(BACKGROUND) != ground
        best, other = page.locator(".best .bar"), page.locator("li:not(.best) .bar").first
        assert best.evaluate(BACKGROUND) != other.evaluate(BACKGROUND)
        assert page.locator(".track").first.evaluate("track => getComputedStyle(track).borderTopWidth") == "1px"


@schemes
def test_axe_finds_nothing_serious_on_the_page_of_batch(browser: Browser, tmp_path: Path, scheme: str) -> None:
    with filled_manager(tmp_path) as manager:
        manager.schedule()
        manager.run("late", deadline_seconds=0.01)
        manager.ended(manager.run())
        page = browser.new_page()
        page.goto(manager.server.url)
        expect(page.locator("li.run")).to_have_count(2)
        expect(page.locator("#pattern svg")).to_be_visible()
        assert serious_violations(page, scheme) == []
        page.close()
