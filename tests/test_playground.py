"""The playground as its user sees it: a real server, a real browser, a digit drawn by mouse or by keyboard."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

from tests.servers import SAMPLES, Server, serving
from tests.strokes import STYLES
from tests.systems import horizontal, system

ARGUMENTS = [
    "--no-sandbox",  # Chromium's does not work for root in a container
    "--headless=new",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
expect.set_options(timeout=15_000)
EMPTY = "Nothing is drawn yet."
KEYS_OF_A_SEVEN = ["Space"] + ["ArrowRight"] * 10 + ["ArrowDown", "ArrowDown", "ArrowLeft"] * 10 + ["Space"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS, env=dict(os.environ))
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, expected: str = "") -> Iterator[Page]:
    """The page, which must report no error but one that begins with `expected`, and ask no other host."""
    errors: list[str] = []
    hosts: set[str | None] = set()

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (expected and message.text.startswith(expected)):
            errors.append(message.text)

    context = browser.new_context(viewport={"width": 1100, "height": 900})
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.goto(url)
    expect(page.locator("#journey-diagram svg")).to_be_visible()
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
    expect(page.locator("#answer-digit")).to_have_text(str(digit))
    expect(page.locator("#answer-status")).to_contain_text(f"Read as {digit},")


def answer_with(page: Page, body: dict[str, object], status: int = 200, **headers: str) -> None:
    """Let `/predict` answer like another pattern."""

    def fulfill(route: Route) -> None:
        route.fulfill(status=status, headers={"Content-Type": "application/json"} | headers, body=json.dumps(body))

    page.route("**/predict", fulfill)


def test_page_is_served_with_strict_headers_and_is_no_part_of_the_api(server: Server) -> None:
    page = server.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert 'data-endpoint="/predict"' in page.text
    assert "$" not in page.text
    types = {"page.css": "text/css", "page.js": "text/javascript", "diagram.svg": "image/svg+xml"}
    files = {name: server.get(f"/playground/{name}") for name in types}
    for name, file in files.items():
        assert file.headers["content-type"].partition(";")[0] == types[name]
    for response in (page, *files.values()):
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-cache"
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in response.headers["content-security-policy"]
        assert "unsafe" not in response.headers["content-security-policy"]
    assert not any("playground" in path or path == "/" for path in server.get("/openapi.json").json()["paths"])


@pytest.mark.parametrize("name", ["__init__.py", "index.html", "..%2f__init__.py", "%2e%2e/openapi.py", "nothing.js"])
def test_other_files_are_not_served(server: Server, name: str) -> None:
    response = httpx.get(f"{server.url}/playground/{name}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.browser
@pytest.mark.parametrize(("digit", "style"), [(7, 0), (3, 0), (4, 0), (2, 0)])
def test_drawn_digit_is_read_without_a_click(server: Server, browser: Browser, digit: int, style: int) -> None:
    with opened(browser, server.url) as page:
        expect(page.locator("#answer-status")).to_have_text(EMPTY)
        draw(page, digit, style)
        expect_digit(page, digit)
        expect(page.locator("#answer-bars li.best .name")).to_have_text(str(digit))
        expect(page.locator("#answer-facts")).to_contain_text("mlp")
        assert json.loads(page.locator("#answer-raw").inner_text())["digit"] == digit


@pytest.mark.browser
def test_request_is_seen_to_travel_over_the_diagram(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        draw(page, 7)
        for part in ("client", "interface", "preprocessing", "queue", "model", "answer"):
            expect(page.locator(f"#journey-diagram #{part}.lit")).to_have_count(1)
        for timing in ("decode", "queue", "predict", "total", "round-trip"):
            expect(page.locator(f"[data-ms={timing}]")).to_contain_text(" ms")
        for timing in ("decode", "queue", "predict", "total", "round trip"):
            expect(page.locator("#journey-timings")).to_contain_text(timing)
        assert page.locator("#journey-diagram .failed").count() == 0
        page.click("#clear-pad")
        assert page.locator("#journey-diagram .lit").count() == 0


@pytest.mark.full
@pytest.mark.browser
def test_asynchronous_job_is_seen_to_travel_through_the_queue(browser: Browser) -> None:
    with system("asynchronous") as these:
        for name in ("redis", "predictor"):
            these.start(name)
        with opened(browser, these.start("asynchronous").url) as page:
            draw(page, 7)
            expect_digit(page, 7)
            for part in ("client", "intake", "queue", "to-predictor", "claim", "settle", "jobs", "retrieval", "answer"):
                expect(page.locator(f"#journey-diagram #{part}.lit")).to_have_count(1)
            for timing in ("decode", "queue", "stream", "predictor", "round-trip"):
                expect(page.locator(f"[data-ms={timing}]")).to_contain_text(" ms")
            these.stop("predictor")
            these.stop("redis")
            page.click("#clear-pad")
        problem = "Failed to load resource: the server responded with a status of 503"
        with opened(browser, these.front.url, expected=problem) as page:
            draw(page, 7)
            expect(page.locator("#answer-status")).to_contain_text("the queue does not answer")
            expect(page.locator("#queue.failed")).to_have_count(1)
            expect(page.locator("#intake.lit")).to_have_count(1)


@pytest.mark.full
@pytest.mark.browser
def test_horizontal_votes_are_seen_to_come_back_and_who_is_missing_stays_dark(browser: Browser) -> None:
    with horizontal() as these, opened(browser, these.front.url) as page:
        lit = page.locator("#journey-diagram .lit")
        draw(page, 7)
        expect_digit(page, 7)
        expect(page.locator("#journey-diagram #answer.lit")).to_have_count(1)
        members = {f"{way}{name}" for name in ("linear", "svm", "mlp") for way in ("to-", "", "from-")}
        proxy = {"client", "request", "interface", "hand-on", "ask", "heard", "vote", "answer"}
        assert set(lit.evaluate_all("parts => parts.map(part => part.id)")) == members | proxy
        for timing in ("decode", "linear", "svm", "mlp", "total", "round-trip"):
            expect(page.locator(f"[data-ms={timing}]")).to_contain_text(" ms")
        os.kill(these.servers["svm"].process.pid, signal.SIGSTOP)
        page.click("#read-now")
        expect(page.locator("#answer-card")).to_contain_text("svm no answer: timeout")
        expect_digit(page, 7)
        expect(page.locator("#journey-diagram #answer.lit")).to_have_count(1)
        assert set(lit.evaluate_all("parts => parts.map(part => part.id)")) == (members | proxy) - {"svm", "from-svm"}
        os.kill(these.servers["svm"].process.pid, signal.SIGCONT)


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
def test_stopped_server_is_told(browser: Browser) -> None:
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
def test_answer_that_does_not_come_is_told(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        page.route("**/predict", lambda route: None)  # neither answered nor refused
        draw(page, 7)
        expect(page.locator("#answer-status")).to_have_text("Reading…")
        expect(page.locator("#client.waiting")).to_have_count(1)
        expect(page.locator("#answer-status")).to_contain_text("no answer within 5 seconds", timeout=20_000)


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


@pytest.mark.browser
def test_keyboard_alone_draws_reads_and_clears(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        page.keyboard.press("Tab")
        expect(page.locator("#draw-pad")).to_be_focused()
        for key in ["ArrowLeft"] * 5 + KEYS_OF_A_SEVEN:
            page.keyboard.press(key)
        expect_digit(page, 7)
        with page.expect_response("**/predict"):
            page.keyboard.press("Enter")
        page.keyboard.press("Control+z")
        expect(page.locator("#answer-status")).to_have_text(EMPTY)
        for key in KEYS_OF_A_SEVEN:
            page.keyboard.press(key)
        page.keyboard.press("Delete")
        expect(page.locator("#answer-status")).to_have_text(EMPTY)
        for control in ("pen-width", "read-now"):
            page.keyboard.press("Tab")
            expect(page.locator(f"#{control}")).to_be_focused()


@pytest.mark.full
@pytest.mark.browser
def test_picture_from_a_file_is_read(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        page.set_input_files("#pick-file", SAMPLES / "two.png")
        expect_digit(page, 2)
        page.set_input_files("#pick-file", __file__)
        expect(page.locator("#answer-status")).to_contain_text("is no picture")


@pytest.mark.full
@pytest.mark.browser
def test_saved_picture_and_shown_command_give_the_same_answer(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        draw(page, 7)
        expect_digit(page, 7)
        with page.expect_download() as download:
            page.click("#save-picture")
        assert download.value.suggested_filename == "digit.png"
        picture = download.value.path().read_bytes()
        assert page.locator("#curl-command").inner_text().endswith(f"--data-binary @digit.png {server.url}/predict")
        assert server.read(picture).json() == json.loads(page.locator("#answer-raw").inner_text())


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
        answer_with(page, {"job_id": "1", "status": "queued"}, 202, Location="/jobs/1")

        def job(route: Route) -> None:
            status = next(states)
            reading = {"digit": 7, "confidence": 0.9, "probabilities": [0.1] * 10} if status == "done" else None
            route.fulfill(json={"job_id": "1", "status": status, "prediction": reading})

        page.route("**/jobs/1?wait=*", job)
        page.click("#read-now")
        expect_digit(page, 7)


@pytest.mark.full
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_narrow_phone(server: Server, browser: Browser, scheme: str) -> None:
    with opened(browser, server.url) as page:
        page.set_viewport_size({"width": 320, "height": 640})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        assert page.evaluate("document.documentElement.scrollWidth") == 320
