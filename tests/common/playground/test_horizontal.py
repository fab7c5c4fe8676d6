"""The playground of microservice_horizontal: votes, members that are missing, jobs and what a request can choose."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.browsers import draw, expect_digit, opened
from tests.support.stack import Stack, horizontal_stack

NOTHING = "\N{EN DASH}"


@pytest.fixture(scope="module")
def horizontal() -> Iterator[Stack]:
    with horizontal_stack() as stack:
        yield stack


@contextmanager
def hung(stack: Stack, *names: str) -> Iterator[None]:
    """These processes stand still until the end of the block."""
    pids = [stack.servers[name].process.pid for name in names]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def choose(page: Page, option: str, value: str) -> None:
    page.locator(".choices:has(#request-options)").evaluate("card => (card.open = true)")
    page.locator("#request-options").get_by_label(option).select_option(value)


def parts(page: Page, state: str) -> set[str]:
    return set(page.locator(f"#journey-diagram .{state}").evaluate_all("parts => parts.map(part => part.id)"))


@pytest.mark.full
@pytest.mark.browser
def test_the_choices_of_the_api_are_offered_sent_and_shown_in_the_command(browser: Browser, horizontal: Stack) -> None:
    with opened(browser, horizontal.front.url) as page:
        page.click(".choices summary")
        labels = page.locator("#request-options label").all_inner_texts()
        assert [label.split()[0] for label in labels] == [
            "X-Request-Timeout-Ms",
            "sent",
            "policy",
            "quorum",
            "aggregation",
        ]
        choices = page.locator("#request-options")
        choices.get_by_label("policy").select_option("wait")
        choices.get_by_label("aggregation").select_option("mean")
        with page.expect_request("**/predict?*") as sent:
            page.click("[title='seven.png']")
        assert sent.value.url.endswith("/predict?policy=wait&aggregation=mean")
        expect(page.locator("#curl-command")).to_contain_text("/predict?policy=wait&aggregation=mean'")
        expect_digit(page, 7)


@pytest.mark.full
@pytest.mark.browser
def test_horizontal_votes_are_seen_to_come_back_and_who_is_missing_is_amber(
    browser: Browser, horizontal: Stack
) -> None:
    with opened(browser, horizontal.front.url) as page:
        lit = page.locator("#journey-diagram .lit")
        draw(page, 7)
        expect_digit(page, 7)
        expect(page.locator("#journey-diagram #answer.lit")).to_have_count(1)
        members = {f"{way}{name}" for name in ("linear", "svm", "mlp") for way in ("to-", "", "from-")}
        proxy = {"client", "request", "interface", "hand-on", "ask", "votes", "vote", "answer"}
        assert set(lit.evaluate_all("parts => parts.map(part => part.id)")) == members | proxy
        for timing in ("decode", "linear", "svm", "mlp", "total", "round-trip"):
            expect(page.locator(f"[data-ms={timing}]")).to_contain_text(" ms")
        assert page.locator(".partial").count() == 0
        os.kill(horizontal.servers["svm"].process.pid, signal.SIGSTOP)
        page.click("#read-now")
        expect(page.locator("#answer-card")).to_contain_text("svm no answer: timeout")
        expect_digit(page, 7)
        expect(page.locator("#journey-diagram #answer.lit")).to_have_count(1)
        without = {"to-svm", "svm", "from-svm"}
        assert set(lit.evaluate_all("parts => parts.map(part => part.id)")) == (members | proxy) - without
        partial = page.locator("#journey-diagram .partial").evaluate_all("parts => parts.map(part => part.id)")
        assert set(partial) == {"to-svm", "svm"}
        expect(page.locator("#answer-card.partial #answer-status")).to_contain_text("Without svm (timeout).")
        expect(page.locator("[data-ms=svm]")).to_have_text("")
        os.kill(horizontal.servers["svm"].process.pid, signal.SIGCONT)


@pytest.mark.full
@pytest.mark.browser
def test_too_few_votes_are_a_red_vote_and_each_member_without_an_answer_is_amber(
    browser: Browser, horizontal: Stack
) -> None:
    problem = "Failed to load resource: the server responded with a status of 503"
    with opened(browser, horizontal.front.url, expected=problem) as page:
        with hung(horizontal, "linear", "svm"):
            page.click("[title='seven.png']")
            expect(page.locator("#answer-status")).to_contain_text("1 of 3 models answered")
        expect(page.locator("#journey-diagram #vote.failed")).to_have_count(1)
        assert parts(page, "partial") == {"to-linear", "linear", "to-svm", "svm"}
        expect(page.locator("#journey-diagram :is(#mlp, #from-mlp).lit")).to_have_count(2)
        for name in ("linear", "svm"):
            expect(page.locator(f"[data-ms={name}]")).to_have_text("")


@pytest.mark.full
@pytest.mark.browser
def test_horizontal_takes_the_same_as_a_job_whose_answers_next_action_and_way_are_seen(
    browser: Browser, horizontal: Stack
) -> None:
    """The post-processor waits for all three: two that agree would close the job, perhaps before `linear` answers."""
    horizontal.stop("postprocessor")
    horizontal.start("postprocessor", quorum=3)
    with opened(browser, horizontal.front.url) as page:
        page.click(".choices summary")
        page.locator("#request-options").get_by_label("sent to").select_option("/jobs")
        expect(page.locator("#request-options").get_by_label("policy")).to_be_hidden()
        expect(page.locator("#curl-command")).to_contain_text("/jobs")
        page.click("[title='seven.png']")
        expect_digit(page, 7)
        row = page.locator("#jobs-list li")
        expect(row.locator(".state")).to_contain_text("done")
        for news in ("linear: 7", "svm: 7", "next action: "):
            expect(row.locator(".news")).to_contain_text(news)
        expect(page.locator("#answer-facts")).to_contain_text("next action")
        expect(page.locator("#journey-diagram #answer.lit")).to_have_count(1)
        lit = page.locator("#journey-diagram .lit").evaluate_all("parts => parts.map(part => part.id)")
        stream = {"to-stream", "stream", "from-stream", "read-by-each", "linear", "published", "postprocessor"}
        assert stream | {"early", "next-action", "closes"} <= set(lit)
        assert not {"hand-on", "ask", "votes", "vote", "to-linear", "from-linear"} & set(lit)


@pytest.mark.full
@pytest.mark.browser
def test_the_page_gives_the_command_that_breaks_a_service(browser: Browser, horizontal: Stack) -> None:
    with opened(browser, horizontal.front.url) as page:
        card = page.locator("#break-card")
        card.get_by_text("Break it").click()
        card.get_by_label("service").select_option("microservice_horizontal-svm")
        card.get_by_label("how").select_option("hang")
        expect(card.locator("pre")).to_have_text("make break SERVICE=microservice_horizontal-svm HOW=hang")


@pytest.mark.full
@pytest.mark.browser
def test_the_diagram_draws_a_member_that_is_not_in_it(browser: Browser, horizontal: Stack) -> None:
    with opened(browser, horizontal.front.url) as page:
        others = page.locator("#journey-diagram #others")
        expect(others).to_be_hidden()

        def add_specialist(route: Route) -> None:
            answer = route.fetch().json()
            answer["predictions"]["specialist"] = answer["predictions"]["linear"]
            route.fulfill(json=answer)

        page.route("**/predict*", add_specialist)
        draw(page, 7)
        expect(page.locator("#answer-facts")).to_contain_text("specialist 7,")
        expect(others).to_be_visible()
        expect(others).to_have_text("specialist")
        box, heading = others.bounding_box(), page.locator("#journey-diagram #members text").bounding_box()
        assert box
        assert heading
        assert heading["x"] + heading["width"] < box["x"]


@pytest.mark.full
@pytest.mark.browser
def test_a_failed_job_shows_who_answered_and_nothing_of_the_job_before_it(browser: Browser, horizontal: Stack) -> None:
    with opened(browser, horizontal.front.url) as page:
        choose(page, "sent to", "/jobs")
        page.click("[title='seven.png']")
        expect_digit(page, 7)
        with hung(horizontal, "svm", "mlp"):
            page.click("#read-now")
            expect(page.locator("#answer-status")).to_contain_text("Accepted after")
            expect(page.locator("#answer-label")).to_have_text(NOTHING)
            expect(page.locator("#answer-bars .best")).to_have_count(0)
            expect(page.locator("#answer-facts")).to_be_empty()
            expect(page.locator("#journey-timings")).not_to_contain_text("round trip")
            expect(page.locator("#answer-status")).to_contain_text("1 of 3 models answered in time", timeout=30_000)
        expect(page.locator("#journey-diagram #answer.failed")).to_have_count(1)
        assert parts(page, "failed") == {"postprocessor", "answer"}
        assert parts(page, "partial") == {"svm", "mlp"}
        assert {"linear", "stream", "read-by-each", "published", "early", "next-action"} <= parts(page, "lit")
        facts = page.locator("#answer-facts")
        for fact in ("linear 7,", "svm no answer: timeout", "next action"):
            expect(facts).to_contain_text(fact)
        expect(facts).not_to_contain_text("200")


@pytest.mark.full
@pytest.mark.browser
def test_a_job_that_is_not_closed_shows_who_answered_and_that_the_post_processor_is_missing(
    browser: Browser, horizontal: Stack
) -> None:
    with opened(browser, horizontal.front.url) as page:
        choose(page, "sent to", "/jobs")
        with hung(horizontal, "postprocessor"):
            page.click("[title='seven.png']")
            for name in ("linear", "svm", "mlp"):
                expect(page.locator("#jobs-list .news")).to_contain_text(f"{name}: 7")
            expect(page.locator("#journey-diagram #postprocessor.partial")).to_have_count(1)
            assert {"read-by-each", "linear", "svm", "mlp", "published"} <= parts(page, "lit")
            assert not {"closes", "early", "next-action", "vote", "answer"} & parts(page, "lit")
        expect_digit(page, 7)
        expect(page.locator("#journey-diagram :is(#postprocessor, #closes, #answer).lit")).to_have_count(3)
        assert parts(page, "partial") == set()


@pytest.mark.full
@pytest.mark.browser
def test_a_stream_that_does_not_answer_is_red_on_the_way_of_a_job(browser: Browser, horizontal: Stack) -> None:
    problem = "Failed to load resource: the server responded with a status of 503"
    with opened(browser, horizontal.front.url, expected=problem) as page:
        choose(page, "sent to", "/jobs")
        with hung(horizontal, "redis"):
            page.click("[title='seven.png']")
            expect(page.locator("#answer-status")).to_contain_text("the stream does not answer")
        expect(page.locator("#journey-diagram #answer.failed")).to_have_count(1)
        assert parts(page, "failed") == {"stream", "answer"}
        assert parts(page, "lit") == {"client", "request", "interface", "to-stream"}
        expect(page.locator("[data-ms=stream]")).to_have_text("")


@pytest.mark.full
@pytest.mark.browser
def test_a_member_that_the_policy_does_not_wait_for_is_no_failure(browser: Browser, horizontal: Stack) -> None:
    with opened(browser, horizontal.front.url) as page, hung(horizontal, "mlp"):
        choose(page, "policy", "first")
        page.click("[title='seven.png']")
        expect_digit(page, 7)
        expect(page.locator("#answer-facts")).to_contain_text("mlp not awaited")
        expect(page.locator("#answer-status")).not_to_contain_text("Without")
        expect(page.locator("#journey-diagram #answer.lit")).to_have_count(1)
        assert page.locator(".partial").count() == 0
        assert not {"to-mlp", "mlp", "from-mlp"} & parts(page, "lit")
        expect(page.locator("[data-ms=mlp]")).to_have_text("")


@pytest.mark.full
@pytest.mark.browser
def test_predictions_that_are_not_aggregated_are_said_to_be_so(browser: Browser, horizontal: Stack) -> None:
    with opened(browser, horizontal.front.url) as page:
        choose(page, "aggregation", "none")
        page.click("[title='seven.png']")
        expect(page.locator("#answer-status")).to_have_text(
            "The predictions are not aggregated: see each of them below."
        )
        expect(page.locator("#answer-label")).to_have_text(NOTHING)
        for name in ("linear", "svm", "mlp"):
            expect(page.locator("#answer-facts")).to_contain_text(f"{name} 7,")
        expect(page.locator("#journey-diagram #answer.lit")).to_have_count(1)
        assert {"votes", "ask", "mlp"} <= parts(page, "lit")
        assert "vote" not in parts(page, "lit")
