"""The playground of other patterns: their diagrams light up as a request travels, their answers are shown."""

import json
import signal
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from tests.support import pictures
from tests.support.browsers import draw, expect_digit, opened
from tests.support.patterns.procfiles import commands
from tests.support.processes import PATTERNS, ROOT
from tests.support.queue.webhook_receiver import SIGNING, Receiver, delivery
from tests.support.service_process import Server
from tests.support.stack import asynchronous_stack, stack_of, synchronous_stack

DOCS = pictures.FOLDER


def answer_with(page: Page, body: dict[str, object], status: int = 200, **headers: str) -> None:
    """Let `/predict` answer like another pattern."""

    def fulfill(route: Route) -> None:
        route.fulfill(status=status, headers={"Content-Type": "application/json"} | headers, body=json.dumps(body))

    page.route("**/predict", fulfill)


@pytest.mark.full
@pytest.mark.browser
def test_asynchronous_job_is_seen_to_travel_through_the_queue(browser: Browser) -> None:
    with stack_of("asynchronous") as stack:
        for name in ("redis", "predictor"):
            stack.start(name)
        with opened(browser, stack.start("asynchronous").url) as page:
            draw(page, 7)
            expect_digit(page, 7)
            for part in ("client", "intake", "queue", "to-predictor", "claim", "settle", "jobs", "retrieval", "answer"):
                expect(page.locator(f"#journey-diagram #{part}.lit")).to_have_count(1)
            for timing in ("decode", "queue", "stream", "predictor", "round-trip"):
                expect(page.locator(f"[data-ms={timing}]")).to_contain_text(" ms")
            page.click("#clear-pad")  # which ends the polls of the job's deliveries
            stack.stop("predictor")
            stack.stop("redis")
        problem = "Failed to load resource: the server responded with a status of 503"
        with opened(browser, stack.front.url, expected=problem) as page:
            draw(page, 7)
            expect(page.locator("#answer-status")).to_contain_text("the queue does not answer")
            expect(page.locator("#queue.failed")).to_have_count(1)
            expect(page.locator("#intake.lit")).to_have_count(1)


@pytest.mark.full
@pytest.mark.browser
def test_asynchronous_page_shows_the_trigger_that_runs_and_the_commands_that_start_another(browser: Browser) -> None:
    with stack_of("asynchronous") as stack:
        stack.start("redis")
        with opened(browser, stack.start("asynchronous", trigger="cache").url) as page:
            page.get_by_text("What a request can choose").click()
            chosen = page.locator("#start-choices")
            trigger = chosen.get_by_label("TRIGGER")
            expect(trigger.locator("option")).to_have_text(["queue", "cache: runs now", "pubsub"])
            expect(trigger).to_have_value("cache")
            trigger.select_option("pubsub")
            starts = ["make asynchronous", "docker compose up asynchronous"]
            expect(chosen.locator("pre")).to_have_text([f"TRIGGER=pubsub {start}" for start in starts])


@pytest.mark.full
@pytest.mark.browser
def test_the_delivery_is_lit_when_the_database_and_the_receiver_have_the_result_and_the_retry_when_there_was_one(
    browser: Browser, tmp_path: Path
) -> None:
    """Shown is what has happened: nothing before the delivery runs, no receiver where the job names none."""
    with (
        asynchronous_stack(**SIGNING) as stack,
        Receiver().listening() as receiver,
        opened(browser, stack.front.url) as page,
    ):
        page.click("[title='seven.png']")
        expect(page.locator("#journey-diagram #answer.lit")).to_have_count(1)
        assert page.locator(":is([data-retried], [data-delivered]):is(.lit, .partial)").count() == 0
        stack.start("delivery", **delivery(tmp_path / "results.sqlite"))
        page.click("#read-now")
        expect(page.locator(":is(#to-delivery, #delivery, #to-database, #database).lit")).to_have_count(4)
        assert page.locator(":is(#to-receiver, #receiver).lit").count() == 0
        page.click(".choices summary")
        callback = page.get_by_label("callback_url")
        callback.fill(receiver.expecting("/hook"))
        callback.press("Enter")
        expect(page.locator(":is(#to-receiver, #receiver, #database).lit")).to_have_count(3)
        stack.stop("predictor")
        stack.start("predictor", job_timeout_seconds=0.000001, max_attempts=2, backoff_seconds=0.01)
        page.click("#read-now")
        expect(page.locator("#journey-diagram :is(#retry.partial, #claim.failed)")).to_have_count(2)
        expect(page.locator("#journey-diagram :is(#predicted, #settle, #settled, #jobs).partial")).to_have_count(4)
        expect(page.locator("#journey-diagram :is(#fetch, #retrieval, #result).lit")).to_have_count(3)
        expect(page.locator("#journey-diagram .failed")).to_have_count(2)  # with the answer
        expect(page.locator(":is(#receiver, #database).lit")).to_have_count(2)


@pytest.mark.full
@pytest.mark.browser
def test_jobs_are_followed_wait_without_alarm_and_a_dead_letter_can_be_retried(browser: Browser) -> None:
    with asynchronous_stack({}) as stack, opened(browser, stack.front.url) as page:
        draw(page, 7)
        expect(page.locator("#answer-status")).to_contain_text("Accepted after")
        expect(page.locator("#jobs-list li[data-state=queued]")).to_contain_text("queued, a predictor")
        expect(page.locator("#journey-diagram #accepted.lit")).to_have_count(1)
        assert page.locator(".failed").count() == 0
        for count in range(2, 9):  # more than a browser has connections to one server
            page.click("#read-now")
            expect(page.locator("#jobs-list li")).to_have_count(count)
        stack.start("predictor", job_timeout_seconds=0.000001, max_attempts=1)
        expect(page.locator("#jobs-list li[data-state=failed]")).to_have_count(8)
        stack.stop("predictor")
        stack.start("predictor", job_timeout_seconds=5)
        page.locator("#jobs-list button").first.click()
        expect(page.locator("#jobs-list li[data-state=done]")).to_have_count(1)
        page.click("#read-now")
        expect_digit(page, 7)
        expect(page.locator("[data-ms=accepted]")).to_contain_text(" ms")


@pytest.mark.full
@pytest.mark.browser
def test_a_predictor_that_gives_no_reading_is_amber_without_its_time(browser: Browser) -> None:
    with synchronous_stack() as stack, opened(browser, stack.front.url) as page:
        stack.stop("predictor")
        page.click("[title='seven.png']")
        status = page.locator("#answer-card.partial #answer-status")
        expect(status).to_contain_text("The predictor gave no reading (refused): this is the fallback.")
        expect(page.locator("#journey-diagram #answer.lit")).to_have_count(1)
        expect(page.locator(":is(#reading, #to-predictor, #model, #fallback).partial")).to_have_count(4)
        expect(page.locator("[data-ms=predictor]")).to_have_text("")
        expect(page.locator("#journey-timings")).not_to_contain_text("predictor")


@pytest.mark.full
@pytest.mark.browser
@pytest.mark.parametrize(("is_killed", "status", "reason"), [(False, 504, "timeout"), (True, 503, "refused")])
def test_a_predictor_that_gives_no_reading_is_red_if_fallback_is_off(
    browser: Browser, is_killed: bool, status: int, reason: str
) -> None:
    problem = f"Failed to load resource: the server responded with a status of {status}"
    with synchronous_stack(fallback=False) as stack, opened(browser, stack.front.url, expected=problem) as page:
        predictor = stack.servers["predictor"].process
        predictor.send_signal(signal.SIGKILL if is_killed else signal.SIGSTOP)
        try:
            page.click("[title='seven.png']")
            expect(page.locator("#answer-card.failed #answer-status")).to_contain_text(f"predictor: {reason}")
            expect(page.locator("#journey-diagram :is(#model, #answer).failed")).to_have_count(2)
            assert page.locator("#journey-diagram .failed").count() == 2
            lit = page.locator("#journey-diagram .lit").evaluate_all("parts => parts.map(part => part.id)")
            assert set(lit) == {"client", "request", "registration", "to-reading", "reading", "to-predictor"}
        finally:
            predictor.send_signal(signal.SIGCONT)


@pytest.mark.full
@pytest.mark.browser
def test_a_predictor_that_was_not_called_is_not_blamed(browser: Browser) -> None:
    """As where the deadline has passed before the flow begins: no step claims that, so it is the whole proxy."""
    problem = "Failed to load resource: the server responded with a status of 504"
    with synchronous_stack() as stack, opened(browser, stack.front.url, expected=problem) as page:
        page.route("**/letters", lambda route: route.fulfill(status=504, json={"detail": "the deadline passed"}))
        page.click("[title='seven.png']")
        expect(page.locator("#journey-diagram [data-whole].failed")).to_have_count(1)
        assert page.locator("#journey-diagram #model.failed").count() == 0


@pytest.mark.parametrize("pattern", [name for name in PATTERNS if name != "batch"])
def test_the_diagram_names_every_service_that_make_break_knows(pattern: str) -> None:
    """But for the front, which serves the page itself, where there are others."""
    front, *others = commands(pattern)
    named = ElementTree.parse(ROOT / pattern / "diagram.svg").iterfind(".//*[@data-service]")
    expected = {f"{pattern}-{name}" for name in others} or {front}
    assert {part.attrib["data-service"] for part in named} == expected


@pytest.mark.full
@pytest.mark.browser
def test_answers_of_other_patterns_are_shown(server: Server, browser: Browser) -> None:
    seven = {"digit": 7, "confidence": 0.9, "probabilities": [0.0] * 7 + [0.9, 0.1, 0.0]}
    missing = [{"model": "svm", "reason": "deadline"}]
    stages = [
        {"name": "quality", "legible": True},
        {"name": "reader", **seven},
        {"name": "specialist", "error": "down"},
    ]
    shown: list[tuple[dict[str, object], list[str]]] = [
        (
            {"letter_id": "a", "bin": "7", "degraded": True, "prediction": seven},
            ["Read as 7, 90.0 %", "bin 7", "degraded"],
        ),
        ({"letter_id": "a", "bin": "manual", "degraded": True, "prediction": None}, ["a person sorts", "bin manual"]),
        (seven | {"predictions": {"mlp": seven}, "missing": missing}, ["mlp 7, 90.0 %", "svm no answer: deadline"]),
        (seven | {"stages": stages}, ["quality legible", "reader 7, 90.0 %", "specialist failed: down"]),
        ({"digit": None, "legible": False, "stages": [{"name": "quality", "legible": False}]}, ["not legible"]),
    ]
    with opened(browser, server.url) as page:
        for answer, texts in shown:
            answer_with(page, answer)
            page.click("#read-now")
            for text in texts:
                expect(page.locator("#answer-card")).to_contain_text(text)


@pytest.mark.full
@pytest.mark.browser
def test_accepted_job_is_followed_to_its_end(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        states = iter(["queued", "running", "done"])
        taken = {"Location": "/jobs/1", "Server-Timing": "stream;dur=2, total;dur=9"}
        answer_with(page, {"job_id": "1", "status": "queued"}, 202, **taken)

        def job(route: Route) -> None:
            status = next(states)
            reading = {"digit": 7, "confidence": 0.9, "probabilities": [0.1] * 10} if status == "done" else None
            answer = {"job_id": "1", "status": status, "prediction": reading}
            route.fulfill(json=answer, headers={"Server-Timing": "stream;dur=7, predictor;dur=3, total;dur=1"})

        page.route("**/jobs/1?wait=*", job)
        events = "event: queued\ndata: {}\n\nevent: done\ndata: {}\n\n"
        page.route("**/jobs/1/events", lambda route: route.fulfill(content_type="text/event-stream", body=events))
        page.click("#read-now")
        expect_digit(page, 7)
        times = page.locator("#journey-timings").inner_text().split("\n")
        shown = dict(zip(times[::2], times[1::2], strict=True))
        assert (shown["stream"], shown["total"]) == ("2.0 ms", "9.0 ms")  # of the item, not of a look at its job
        assert shown["predictor"] == "3.0 ms"


@pytest.mark.full
@pytest.mark.browser
def test_the_pictures_of_the_readme_show_the_page_as_it_is(browser: Browser, tmp_path: Path) -> None:
    """Of the same size, with the same colours in the same places, as far as times and bars leave them."""
    pictures.write_pictures(browser, tmp_path)
    for name in ("playground-light.png", "playground-dark.png"):
        new, committed = (np.asarray(Image.open(folder / name).convert("RGB"), int) for folder in (tmp_path, DOCS))
        assert new.shape == committed.shape
        assert (abs(new - committed).max(axis=2) > 40).mean() < 0.05, (
            "python -m tests.support.pictures makes them again"
        )
