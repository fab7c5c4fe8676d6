"""The tabs at the top of a page: the other patterns of the same checkout, and which of them run on this machine."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
from playwright.sync_api import expect
from starlette.datastructures import URL

from common.playground.neighbours import local_neighbours, neighbour_origins, published_neighbours
from tests.support.browsers import chromium, opened
from tests.support.patterns.start import copied, started
from tests.support.processes import ROOT, free_port
from tests.support.service_process import serving
from tests.support.stack import stack_of

UNREACHABLE = "Failed to load resource: net::ERR_CONNECTION_REFUSED"
"""What the browser itself writes where nothing answers."""
BELOW = "tab => getComputedStyle(tab, '::after').content"
"""What the page shows below the tabs."""
OTHERS = ["asynchronous", "batch", "microservice_vertical", "microservice_horizontal"]


@pytest.mark.full
@pytest.mark.browser
def test_a_pattern_that_runs_is_a_click_away_and_one_that_does_not_is_grey() -> None:
    with stack_of("synchronous") as stack, chromium() as browser:
        stack.start("predictor")
        other = stack.start("synchronous")
        ports = {"synchronous_port": other.port} | {f"{name}_port": free_port() for name in OTHERS}
        with serving(**ports) as server, opened(browser, server.url) as page:
            tabs = page.get_by_role("navigation", name="Patterns")
            expect(tabs.locator("> *")).to_have_text(["web_single", "synchronous", *OTHERS])
            expect(tabs.locator("[aria-current=page]")).to_have_text("web_single")
            expect(tabs.get_by_role("link")).to_have_text(["synchronous"])
            for name in OTHERS:
                expect(tabs.get_by_title(f"make {name}")).to_have_text(name)
            tabs.get_by_role("link").focus()
            page.keyboard.press("Tab")
            expect(tabs.get_by_title("make asynchronous")).to_be_focused()
            assert "make asynchronous" in tabs.locator(":focus").evaluate(BELOW)
            tabs.get_by_title("make batch").click()  # as a tap does
            assert "make batch" in tabs.locator(":focus").evaluate(BELOW)
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            page.wait_for_load_state("networkidle")
            expect(tabs.get_by_title("make batch")).to_be_focused()
            tabs.get_by_role("link").click()
            expect(page).to_have_url(f"{other.url}/")
            expect(tabs.locator("[aria-current=page]")).to_have_text("synchronous")
            page.go_back()
            expect(tabs.get_by_role("link")).to_have_count(1)
            stack.stop("synchronous")
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            expect(tabs.get_by_role("link")).to_have_count(0)


@pytest.mark.parametrize("foreign", ["tcp://10.0.0.1:80", "", "-1", "abc"])
def test_a_port_setting_that_is_no_port_is_not_this_patterns(monkeypatch: pytest.MonkeyPatch, foreign: str) -> None:
    """Kubernetes sets `NAME_PORT=tcp://…` for each of its services."""
    monkeypatch.setenv("SYNCHRONOUS_PORT", foreign)
    monkeypatch.setenv("BATCH_PORT", "9004")
    found = local_neighbours(ROOT / "web_single")
    assert (found["synchronous"], found["batch"]) == (8002, 9004)


@pytest.mark.parametrize(
    ("published", "found"),
    [
        ("web_single=8001,my_pattern=9000", {"web_single": 8001, "my_pattern": 9000}),
        ("web_single=8001,batch=,=9,synchronous=x", {"web_single": 8001}),
        ("", {}),
    ],
)
def test_a_container_gets_its_neighbours_from_compose(
    monkeypatch: pytest.MonkeyPatch, published: str, found: dict[str, int]
) -> None:
    monkeypatch.setenv("PATTERN_PORTS", published)
    assert published_neighbours() == found


@pytest.mark.full
@pytest.mark.browser
def test_in_a_container_the_page_itself_asks_which_of_the_published_patterns_run(tmp_path: Path) -> None:
    """A folder that was copied alone is what an image holds."""
    with serving() as other, chromium() as browser:
        ports = {"web_single": free_port(), "synchronous": other.port} | {name: free_port() for name in OTHERS}
        published = ",".join(f"{name}={port}" for name, port in ports.items())
        environment = {"PATTERN_PORTS": published, "WEB_SINGLE_PORT": str(ports["web_single"])}
        with (
            started("web_single", copied("web_single", tmp_path), **environment),
            opened(browser, f"http://127.0.0.1:{ports['web_single']}", UNREACHABLE) as page,
        ):
            tabs = page.get_by_role("navigation", name="Patterns")
            expect(tabs.locator("[aria-current=page]")).to_have_text("web_single")
            expect(tabs.get_by_role("link")).to_have_text(["synchronous"])
            expect(tabs.get_by_role("link")).to_have_attribute("href", f"{other.url}/")
            for name in OTHERS:
                expect(tabs.get_by_title(f"It does not run: docker compose up {name}")).to_have_text(name)
            other.process.terminate()
            other.process.wait(20)
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            expect(tabs.get_by_role("link")).to_have_count(0)


class SlowHandler(BaseHTTPRequestHandler):
    """A pattern on a busy machine: its icon comes when it has time."""

    has_time = Event()

    def do_GET(self) -> None:
        self.has_time.wait()
        self.send_response(200)
        self.send_header("Content-Type", "image/svg+xml")
        self.end_headers()
        self.wfile.write((ROOT / "common" / "playground" / "icon.svg").read_bytes())


@pytest.mark.full
@pytest.mark.browser
def test_a_pattern_that_is_slow_to_answer_is_not_grey_and_keeps_back_no_other(tmp_path: Path) -> None:
    with serving() as other, chromium() as browser, ThreadingHTTPServer(("127.0.0.1", 0), SlowHandler) as slow:
        SlowHandler.has_time.set()
        Thread(target=slow.serve_forever, daemon=True).start()
        ports = {"web_single": free_port(), "batch": slow.server_port, "synchronous": other.port}
        published = ",".join(f"{name}={port}" for name, port in ports.items())
        environment = {"PATTERN_PORTS": published, "WEB_SINGLE_PORT": str(ports["web_single"])}
        with (
            started("web_single", copied("web_single", tmp_path), **environment),
            opened(browser, f"http://127.0.0.1:{ports['web_single']}", UNREACHABLE) as page,
        ):
            links = page.get_by_role("navigation", name="Patterns").get_by_role("link")
            expect(links).to_have_text(["batch", "synchronous"])
            SlowHandler.has_time.clear()
            other.process.terminate()
            other.process.wait(20)
            with page.expect_response(f"http://127.0.0.1:{slow.server_port}/**"):
                page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
                expect(links).to_have_text(["batch"])
                page.wait_for_timeout(1_500)
                SlowHandler.has_time.set()
            expect(links).to_have_text(["batch"])
        slow.shutdown()


def test_the_policy_of_a_page_names_its_own_host_and_the_published_ports_alone() -> None:
    found = neighbour_origins(URL("http://localhost:8001/"), [8002, 8003])
    assert found == ["http://localhost:8002", "http://localhost:8003"]
    for host in ("localhost; script-src *", "localhost http://elsewhere", "*", "[::1]", ""):
        assert neighbour_origins(URL(f"http://{host}/"), [8002]) == []


@pytest.mark.full
def test_a_folder_that_was_copied_alone_has_no_tabs(tmp_path: Path) -> None:
    with started("web_single", copied("web_single", tmp_path)) as (_, ports):
        url = f"http://127.0.0.1:{ports['WEB_SINGLE_PORT']}"
        assert httpx.get(f"{url}/playground/patterns").json() == []
