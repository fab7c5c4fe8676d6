"""The playground as its user sees it: a real server, a real browser, a digit drawn by mouse or by keyboard."""

import json
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect

from tests.support.browsers import chromium, draw, expect_digit, opened
from tests.support.samples import SAMPLES
from tests.support.service_process import Server, serving

EMPTY = "Nothing is drawn yet."
KEYS_OF_A_SEVEN = ["Space"] + ["ArrowRight"] * 10 + ["ArrowDown", "ArrowDown", "ArrowLeft"] * 10 + ["Space"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


# The files


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


def test_page_links_to_the_readme_of_its_pattern(server: Server) -> None:
    assert '<a href="playground/README.md">' in server.get("/").text
    readme = server.get("/playground/README.md")
    assert readme.headers["content-type"] == "text/plain; charset=utf-8"
    assert readme.text.startswith("# Web single")


@pytest.mark.parametrize("name", ["__init__.py", "index.html", "..%2f__init__.py", "%2e%2e/openapi.py", "nothing.js"])
def test_other_files_are_not_served(server: Server, name: str) -> None:
    response = httpx.get(f"{server.url}/playground/{name}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


# A picture goes in


@pytest.mark.browser
@pytest.mark.parametrize(
    ("digit", "style"), [(7, 0), *[pytest.param(digit, 0, marks=pytest.mark.full) for digit in (3, 4, 2)]]
)
def test_drawn_digit_is_read_without_a_click(server: Server, browser: Browser, digit: int, style: int) -> None:
    with opened(browser, server.url) as page:
        expect(page.locator("#answer-status")).to_have_text(EMPTY)
        draw(page, digit, style)
        expect_digit(page, digit)
        expect(page.locator("#answer-bars li.best .name")).to_have_text(str(digit))
        expect(page.locator("#answer-facts")).to_contain_text("mlp")
        assert json.loads(page.locator("#answer-raw").inner_text())["digit"] == digit


@pytest.mark.full
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


@pytest.mark.browser
def test_keyboard_alone_draws_reads_and_clears(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        for _ in range(1 + page.locator("#pattern-tabs a").count()):  # other patterns may run on this machine
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
def test_every_sample_is_shown_and_read_at_a_click(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        buttons = page.locator("#sample-pictures button")
        assert buttons.evaluate_all("buttons => buttons.map(button => button.title)") == sorted(
            file.name for file in SAMPLES.glob("*.png")
        )
        shown = "images => Promise.all(images.map(image => image.decode()))"
        page.locator("#sample-pictures img").evaluate_all(shown)
        for name, digit in (("four", 4), ("drawn_three", 3), ("zero", 0)):
            page.click(f"#sample-pictures [title='{name}.png']")
            expect_digit(page, digit)


@pytest.mark.full
@pytest.mark.browser
def test_deadline_that_is_chosen_is_sent_and_stands_in_the_command(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        page.click(".choices summary")
        page.get_by_label("X-Request-Timeout-Ms").fill("1500")
        with page.expect_request("**/predict") as sent:
            page.click("[title='seven.png']")
        assert sent.value.headers["x-request-timeout-ms"] == "1500"
        expect(page.locator("#curl-command")).to_contain_text("curl -H 'X-Request-Timeout-Ms: 1500' -H")
        expect_digit(page, 7)


@pytest.mark.full
@pytest.mark.browser
def test_saved_picture_and_shown_command_give_the_same_answer(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        draw(page, 7)
        expect_digit(page, 7)
        with page.expect_download() as download:
            page.click("#save-picture")
        assert download.value.suggested_filename == "drawing.png"
        picture = download.value.path().read_bytes()
        assert page.locator("#curl-command").inner_text().endswith(f"--data-binary @drawing.png {server.url}/predict")
        assert server.read(picture).json() == json.loads(page.locator("#answer-raw").inner_text())


@pytest.mark.full
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_narrow_phone(server: Server, browser: Browser, scheme: str) -> None:
    with opened(browser, server.url) as page:
        page.set_viewport_size({"width": 320, "height": 640})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        assert page.evaluate("document.documentElement.scrollWidth") == 320


# No answer comes


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
