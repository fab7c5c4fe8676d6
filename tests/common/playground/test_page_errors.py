"""The page says what is wrong: an empty paper, a server that has stopped, an answer that does not come."""

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.support.browsers import draw, expect_digit, opened
from tests.support.service_process import Server, serving

EMPTY = "Nothing is drawn yet."


@pytest.mark.full
@pytest.mark.browser
def test_empty_paper_is_a_readable_problem_in_the_box_that_found_it(server: Server, browser: Browser) -> None:
    with opened(
        browser, server.url, expected="Failed to load resource: the server responded with a status of 422"
    ) as page:
        page.click("#read-now")
        expect(page.locator("#answer-status")).to_contain_text("picture without ink")
        expect(page.locator("#answer-facts")).to_contain_text("422")
        expect(page.locator("#preprocessing.failed")).to_have_count(1)
        expect(page.locator("#interface.lit")).to_have_count(1)
        assert page.locator("#model.lit, #queue.lit").count() == 0
        draw(page, 7)
        expect_digit(page, 7)
        expect(page.locator("#answer.lit")).to_have_count(1)
        assert page.locator(".failed").count() == 0


@pytest.mark.full
@pytest.mark.browser
def test_page_says_that_the_server_has_stopped(browser: Browser) -> None:
    with serving() as server, opened(browser, server.url, expected="Failed to load resource: net::ERR_") as page:
        draw(page, 7)
        expect_digit(page, 7)
        server.process.terminate()
        server.process.wait(20)
        page.click("#read-now")
        expect(page.locator("#answer-status")).to_have_text("The server cannot be reached. Is it running?")
        expect(page.locator("#journey-diagram [data-whole].failed")).to_have_count(1)


@pytest.mark.full
@pytest.mark.browser
def test_page_says_that_no_answer_came(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        page.route("**/predict", lambda route: None)  # neither answered nor refused
        draw(page, 7)
        expect(page.locator("#answer-status")).to_have_text("Reading…")
        expect(page.locator("#client.waiting")).to_have_count(1)
        expect(page.locator("#answer-status")).to_contain_text("no answer within 5 seconds", timeout=20_000)


@pytest.mark.full
@pytest.mark.browser
def test_page_waits_for_as_long_as_the_deadline_that_is_chosen(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        page.route("**/predict", lambda route: None)
        page.click(".choices summary")
        page.get_by_label("X-Request-Timeout-Ms").fill("5000")
        page.click("[title='seven.png']")
        expect(page.locator("#answer-status")).to_contain_text("no answer within 7 seconds", timeout=20_000)


@pytest.mark.full
@pytest.mark.browser
def test_newer_picture_cancels_the_request_of_an_older_one(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        failed: list[str | None] = []
        page.on("requestfailed", lambda request: failed.append(request.failure))
        held: list[Route] = []
        page.route("**/predict", lambda route: route.continue_() if held else held.append(route))
        draw(page, 3)
        expect(page.locator("#answer-status")).to_have_text("Reading…")
        page.click("#clear-pad")
        expect(page.locator("#answer-status")).to_have_text(EMPTY)
        draw(page, 7)
        expect_digit(page, 7)
        assert failed == ["net::ERR_ABORTED"]
