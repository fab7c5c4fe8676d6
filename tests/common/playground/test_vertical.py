"""The playground of microservice_vertical: a letter of several scans, which no drawing can be."""

import json
import os
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browsers import draw, expect_digit, opened
from tests.support.stack import Stack, vertical_stack


@pytest.fixture(scope="module")
def vertical() -> Iterator[Stack]:
    with vertical_stack() as stack:
        yield stack


@pytest.mark.full
@pytest.mark.browser
def test_a_sample_of_several_scans_is_stored_and_read_at_low_confidence_by_the_specialist(
    browser: Browser, vertical: Stack
) -> None:
    url = vertical.front.url
    with opened(browser, url) as page:
        page.get_by_role("button", name="low confidence letter").click()
        expect_digit(page, 6)
        expect(page.locator("#journey-diagram #answer.lit")).to_have_count(1)
        expect(page.locator("#journey-diagram :is(#store, #quality, #reader, #specialist).lit")).to_have_count(4)
        stages = json.loads(page.locator("#answer-raw").inner_text())["stages"]
        assert [stage["name"] for stage in stages] == ["quality", "reader", "specialist"]
        command = page.locator("#curl-command")
        expect(command).to_contain_text(f"@common/samples/low_confidence_letter.json {url}/images | curl")
        expect(page.locator("#draw-hint")).to_have_text("low confidence letter")
        with page.expect_request("**/images"):
            page.click("#read-now")
        draw(page, 7)
        expect_digit(page, 7)
        expect(command).to_contain_text("drawing.png")


@pytest.mark.full
@pytest.mark.browser
def test_a_store_that_does_not_answer_is_red(browser: Browser, vertical: Stack) -> None:
    problem = "Failed to load resource: the server responded with a status of 503"
    redis = vertical.servers["redis"].process.pid
    with opened(browser, vertical.front.url, expected=problem) as page:
        os.kill(redis, signal.SIGSTOP)
        page.click("[title='low_confidence_letter.json']")
        expect(page.locator("#answer-status")).to_contain_text("the store does not answer")
        os.kill(redis, signal.SIGCONT)
        expect(page.locator("#journey-diagram #store.failed")).to_have_count(1)
        expect(page.locator("#journey-diagram #interface.lit")).to_have_count(1)
        assert page.locator("#quality:is(.lit, .failed)").count() == 0
