"""A pattern's page in a real browser, and a digit drawn on the playground's paper."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.support.inputs.drawn_digits import STYLES

ARGUMENTS = [
    "--no-sandbox",  # Chromium's does not work for root in a container
    "--headless=new",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
expect.set_options(timeout=15_000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, until the end of the block."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS, env=dict(os.environ))
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, url: str, expected: str = "", *, width: int = 1100, zone: str | None = None
) -> Iterator[Page]:
    """The page, which must report no error but one that begins with `expected`, and ask no other host."""
    errors: list[str] = []
    hosts: set[str | None] = set()
    unanswered: set[Request] = set()

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (expected and message.text.startswith(expected)):
            errors.append(message.text)

    context = browser.new_context(viewport={"width": width, "height": 900}, locale="en-GB", timezone_id=zone)
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.on("request", lambda request: unanswered.add(request))
    page.on("requestfinished", lambda request: unanswered.discard(request))
    page.goto(url)
    try:
        expect(page.locator(".diagram svg")).to_be_visible()
    except AssertionError as error:
        waiting = sorted(request.url for request in unanswered)
        raise AssertionError(f"the page did not load: {errors}, no answer to {waiting}") from error
    yield page
    context.close()
    assert errors == []
    assert hosts - {None} == {"127.0.0.1"}  # None: blob: and data: addresses


def draw(page: Page, digit: int, style: int = 0) -> None:
    """With the mouse, 190 pixels tall, in the middle of the paper."""
    box = page.locator("#draw-pad").bounding_box()
    assert box
    for stroke in STYLES[digit][style]:
        points = [(box["x"] + 75 + 190 * x, box["y"] + 45 + 190 * y) for x, y in stroke.tolist()]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def expect_digit(page: Page, digit: int) -> None:
    expect(page.locator("#answer-label")).to_have_text(str(digit))
    expect(page.locator("#answer-status")).to_contain_text(f"Read as {digit},")
