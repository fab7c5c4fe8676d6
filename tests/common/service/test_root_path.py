"""Behind a proxy that serves a service under a prefix (`--root-path`), whether it takes the prefix away or not."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from playwright.sync_api import expect

from tests.support.browsers import chromium, draw, expect_digit
from tests.support.http.nginx import nginx
from tests.support.samples import PNG, SAMPLES, SEVEN_PIXELS
from tests.support.service_process import Server, serving
from tests.support.stack import stack_of

PREFIX = "/digits"

pytestmark = [pytest.mark.nginx, pytest.mark.parametrize("strips", [True, False], ids=["taken away", "left"])]


class Behind(NamedTuple):
    """A service, and its URL at the proxy."""

    server: Server
    url: str


@contextmanager
def behind(server: Server, folder: Path, strips: bool) -> Iterator[Behind]:
    with nginx(folder, PREFIX, server.port, strips) as url:
        yield Behind(server, url)


@pytest.fixture
def single(tmp_path: Path, strips: bool) -> Iterator[Behind]:
    with serving(uvicorn_root_path=PREFIX) as server, behind(server, tmp_path, strips) as service:
        yield service


def test_every_endpoint_answers_under_the_prefix(single: Behind) -> None:
    inputs = [{"name": "features", "datatype": "FP32", "shape": [1, 64], "data": SEVEN_PIXELS}]
    answers = {
        "/predict": httpx.post(f"{single.url}/predict", json={"pixels": SEVEN_PIXELS}),
        "/v2/models/mlp/infer": httpx.post(f"{single.url}/v2/models/mlp/infer", json={"inputs": inputs}),
        "/v2/models/mlp": httpx.get(f"{single.url}/v2/models/mlp"),
        "/health/ready": httpx.get(f"{single.url}/health/ready"),
        "/": httpx.get(f"{single.url}/"),
        "/playground/page.js": httpx.get(f"{single.url}/playground/page.js"),
    }
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(answers, 200)
    for path in ("/predict", "/v2/models/mlp/infer"):
        assert single.server.metric("http_requests_total", path=path, status="200") == 1


def test_problem_under_the_prefix_has_the_form_of_its_endpoint(single: Behind) -> None:
    problem = httpx.post(f"{single.url}/predict", json={"pixels": []})
    assert (problem.status_code, problem.headers["content-type"]) == (422, "application/problem+json")
    error = httpx.post(f"{single.url}/v2/models/mlp/infer", json={})
    assert (error.status_code, [*error.json()]) == (400, ["error"])


def test_documentation_points_below_the_prefix(single: Behind) -> None:
    page = httpx.get(f"{single.url}/docs").text
    document = httpx.get(f"{single.url}/openapi.json").json()
    assert f"'{PREFIX}/openapi.json'" in page
    assert document["servers"][0]["url"] == PREFIX
    assert httpx.get(f"{single.url}/docs/files/swagger-ui-bundle.js").status_code == 200


@pytest.mark.full
@pytest.mark.browser
def test_playground_reads_a_digit_under_the_prefix(single: Behind) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"{single.url}/")
        expect(page.locator("#journey-diagram svg")).to_be_visible()
        draw(page, 7)
        expect_digit(page, 7)


@pytest.mark.full
def test_location_of_a_job_is_below_the_prefix(tmp_path: Path, strips: bool) -> None:
    with stack_of("asynchronous") as stack:
        stack.start("redis")
        with behind(stack.start("asynchronous", uvicorn_root_path=PREFIX), tmp_path, strips) as proxy:
            accepted = httpx.post(f"{proxy.url}/jobs", content=(SAMPLES / "seven.png").read_bytes(), headers=PNG)
            location = accepted.headers["location"]
            assert location == f"{PREFIX}/jobs/{accepted.json()['job_id']}"
            assert httpx.get(str(httpx.URL(proxy.url).join(location))).json()["status"] == "queued"


@pytest.mark.full
def test_events_of_a_letter_come_one_by_one_through_the_proxy(tmp_path: Path, strips: bool) -> None:
    """nginx would hold them back until the last, but for `X-Accel-Buffering: no`."""
    with stack_of("synchronous") as stack:
        predictor = stack.start("predictor")
        front = stack.start("synchronous", uvicorn_root_path=PREFIX)
        predictor.process.send_signal(signal.SIGSTOP)
        with behind(front, tmp_path, strips) as proxy:
            headers = {"Accept": "text/event-stream"}
            letter = {"pixels": SEVEN_PIXELS}
            with httpx.stream("POST", f"{proxy.url}/letters", json=letter, headers=headers) as answer:
                assert next(answer.iter_lines()) == "event: registered"
                predictor.process.send_signal(signal.SIGCONT)
