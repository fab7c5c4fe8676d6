"""The tabs at the top of a page: the other patterns of the same checkout, and which of them run on this machine."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from common.playground.neighbours import local_neighbours, published_neighbours
from tests.support.browsers import chromium, opened
from tests.support.patterns.start import copied, started
from tests.support.processes import ROOT, free_port
from tests.support.service_process import serving
from tests.support.stack import stack_of

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
def test_alone_as_in_a_container_all_published_patterns_are_links_that_promise_nothing(tmp_path: Path) -> None:
    ports = {name: free_port() for name in ["synchronous", *OTHERS]}
    published = ",".join(f"{name}={port}" for name, port in {"web_single": 8001, **ports}.items())
    with (
        started("web_single", copied("web_single", tmp_path), PATTERN_PORTS=published) as (_, own),
        chromium() as browser,
    ):
        url = f"http://127.0.0.1:{own['WEB_SINGLE_PORT']}"
        with opened(browser, url) as page:
            tabs = page.get_by_role("navigation", name="Patterns")
            expect(tabs.locator("[aria-current=page]")).to_have_text("web_single")
            expect(tabs.get_by_role("link")).to_have_text(list(ports))
            for name, port in ports.items():
                link = tabs.get_by_title(f"does not know whether it runs: docker compose up {name}")
                expect(link).to_have_attribute("href", f"http://127.0.0.1:{port}/")


@pytest.mark.full
def test_a_folder_that_was_copied_alone_has_no_tabs(tmp_path: Path) -> None:
    with started("web_single", copied("web_single", tmp_path)) as (_, ports):
        url = f"http://127.0.0.1:{ports['WEB_SINGLE_PORT']}"
        assert httpx.get(f"{url}/playground/patterns").json() == []
