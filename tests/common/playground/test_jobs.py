"""Jobs on the page of the asynchronous pattern: followed until they end and are delivered, however long it takes."""

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.support.browsers import expect_digit, opened
from tests.support.service_process import Server
from tests.support.stack import asynchronous_stack

HALF_A_MINUTE_LATER = "() => { const now = performance.now.bind(performance); performance.now = () => now() + 31_000; }"
PAUSES_ARE_SHORT = (
    "() => { const later = setTimeout; window.setTimeout = (act, ms) => later(act, ms === 5_000 ? ms : ms / 50); }"
)


@pytest.mark.full
@pytest.mark.browser
def test_a_job_that_waits_long_is_shown_once_it_is_done(browser: Browser) -> None:
    with asynchronous_stack({}) as stack, opened(browser, stack.front.url) as page:
        page.click("[title='seven.png']")
        expect(page.locator("#answer-status")).to_contain_text("Accepted after")
        page.evaluate(HALF_A_MINUTE_LATER)
        expect(page.locator("#answer-status")).to_have_text("The job still waits: a predictor: none is running.")
        expect(page.locator("#journey-diagram #accepted.lit")).to_have_count(1)
        stack.start("predictor")
        expect_digit(page, 7)
        expect(page.locator("#journey-diagram #answer.lit")).to_have_count(1)
        expect(page.locator("#answer-raw")).to_contain_text('"status": "done"')


@pytest.mark.full
@pytest.mark.browser
def test_a_late_delivery_is_lit_although_a_look_at_it_failed(server: Server, browser: Browser) -> None:
    looks = []

    def job(route: Route) -> None:
        looks.append(route.request.url)
        if len(looks) == 5:
            route.abort()
            return
        reading = {"digit": 7, "confidence": 0.9, "probabilities": [0.1] * 10}
        delivered = {"database": "2026-01-01T00:00:00Z" if len(looks) > 10 else None}
        route.fulfill(json={"job_id": "1", "status": "done", "prediction": reading, "delivered": delivered})

    with opened(browser, server.url, expected="Failed to load resource: net::ERR_FAILED") as page:
        page.evaluate(PAUSES_ARE_SHORT)
        page.evaluate("document.querySelector('#journey-diagram title').dataset.delivered = 'database'")
        accepted = {"job_id": "1", "status": "queued"}
        page.route(
            "**/predict", lambda route: route.fulfill(json=accepted, status=202, headers={"Location": "/jobs/1"})
        )
        page.route("**/jobs/1", job)
        page.route("**/jobs/1?wait=*", job)
        events = "event: done\ndata: {}\n\n"
        page.route("**/jobs/1/events", lambda route: route.fulfill(content_type="text/event-stream", body=events))
        page.click("[title='seven.png']")
        expect_digit(page, 7)
        expect(page.locator("#journey-diagram title.lit")).to_have_count(1)
        assert len(looks) == 11


@pytest.mark.full
@pytest.mark.browser
def test_a_failed_job_that_is_no_dead_letter_cannot_be_retried(browser: Browser) -> None:
    failing = {"predictor": {"trigger": "cache", "job_timeout_seconds": 0.000001}}
    with asynchronous_stack(failing, trigger="cache") as stack, opened(browser, stack.front.url) as page:
        with page.expect_response("**/dead-letters") as letters:
            page.click("[title='seven.png']")
        assert letters.value.json() == []
        expect(page.locator("#jobs-list li[data-state=failed]")).to_have_count(1)
        assert page.locator("#jobs-list button").count() == 0


@pytest.mark.full
@pytest.mark.browser
def test_a_request_that_the_browser_refuses_to_send_is_not_blamed_on_the_server(browser: Browser) -> None:
    with asynchronous_stack({}) as stack, opened(browser, stack.front.url) as page:
        page.click(".choices summary")
        key = page.get_by_label("Idempotency-Key")
        key.fill("ключ")
        page.click("[title='seven.png']")
        expect(page.locator("#answer-status")).to_contain_text("The request cannot be sent: ")
        expect(page.locator("#answer-status")).to_contain_text("ISO-8859-1")
        expect(page.locator("#answer-card.failed")).to_have_count(1)
        assert page.locator("#journey-diagram :is(.lit, .waiting, .failed)").count() == 0
