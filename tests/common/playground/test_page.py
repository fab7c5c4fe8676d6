"""The playground as its user sees it: a real server, a real browser, a digit drawn by mouse or by keyboard."""

import json

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browsers import draw, expect_digit, opened
from tests.support.samples import SAMPLES
from tests.support.service_process import Server

EMPTY = "Nothing is drawn yet."
KEYS_OF_A_SEVEN = ["Space"] + ["ArrowRight"] * 10 + ["ArrowDown", "ArrowDown", "ArrowLeft"] * 10 + ["Space"]


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
        others = page.locator("#pattern-tabs :is(a, [title])")  # that run on this machine, or not
        expect(others).to_have_count(5)
        for _ in range(1 + others.count()):
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
