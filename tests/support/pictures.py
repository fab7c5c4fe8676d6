"""Writes the README's pictures, docs/playground-light.png and -dark.png: `python -m tests.support.pictures`."""

from pathlib import Path

from playwright.sync_api import Browser, FloatRect, expect

from tests.support.browsers import chromium
from tests.support.patterns.procfiles import commands
from tests.support.processes import ROOT, wait_until
from tests.support.service_process import is_ready
from tests.support.stack import stack_of

FOLDER = ROOT / "docs"
PATTERN = "microservice_vertical"
SIZE = (1100, 900)


def take_pictures(browser: Browser, url: str, folder: Path) -> None:
    """The playground after the sample that is read with low confidence, in light and dark."""
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme=scheme)
        page.goto(url)
        page.wait_for_load_state("networkidle")
        page.click("[title='low_confidence_six.png']")
        expect(page.locator("#journey-diagram #specialist.lit")).to_have_count(1)
        expect(page.locator("[data-ms=round-trip]")).to_contain_text(" ms")
        diagram = page.locator("#journey-diagram").bounding_box()
        assert diagram
        shown: FloatRect = {"x": 0, "y": 0, "width": SIZE[0], "height": diagram["y"] + diagram["height"]}
        page.screenshot(path=folder / f"playground-{scheme}.png", full_page=True, animations="disabled", clip=shown)
        page.close()


def write_pictures(browser: Browser, folder: Path) -> None:
    """Start the pattern, ask it, write the pictures."""
    with stack_of(PATTERN) as stack:
        stack.start("redis")
        for name in commands(PATTERN):
            if name not in ("redis", PATTERN):
                stack.launch(name)
        stack.start(PATTERN)
        wait_until(lambda: all(is_ready(server) for name, server in stack.servers.items() if name != "redis"))
        take_pictures(browser, stack.front.url, folder)


if __name__ == "__main__":
    with chromium() as browser:
        write_pictures(browser, FOLDER)
