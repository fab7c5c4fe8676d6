"""The snippets of "Make it yours" in each README do what the README says, as files that a user would write."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY

from tests.support.processes import PATTERNS, ROOT
from tests.support.samples import SEVEN_JSON

REQUESTS: dict[str, tuple[str, object]] = {
    "web_single": ("/predict", SEVEN_JSON),
    "synchronous": ("/letters", SEVEN_JSON),
    "asynchronous": ("/jobs", SEVEN_JSON),
    "batch": ("/runs", {"input": "scans", "output": "digits"}),
    "microservice_vertical": ("/predict", SEVEN_JSON),
    "microservice_horizontal": ("/predict", SEVEN_JSON),
}
"""By pattern, its main endpoint and a body. Neither backends nor Redis run, so an answer may be a 503 or a 504."""
NOT_RUNNING = "redis://127.0.0.1:1/0"
ORIGIN = "https://example.com"

pytestmark = pytest.mark.parametrize("pattern", PATTERNS)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = {"API_KEY": "secret", "GRPC_PORT": "0", "REDIS_URL": NOT_RUNNING, "LOG_FORMAT": "json"}
    settings |= {"DATA_ROOT": str(tmp_path / "data"), "MANAGER_DATABASE": str(tmp_path / "manager.sqlite")}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def section_of(pattern: str) -> str:
    return (ROOT / pattern / "README.md").read_text().partition("\n## Make it yours\n")[2].partition("\n## ")[0]


def snippets(pattern: str) -> list[str]:
    """The Python blocks under "Make it yours" that define an app."""
    blocks = re.findall(r"^```python\n(.*?)^```$", section_of(pattern), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if "def create_app(" in block]


@contextmanager
def client_of(pattern: str, marker: str, root_path: str = "") -> Iterator[TestClient]:
    """A client of the app that the one snippet with this marker defines; `root_path` as uvicorn sets it."""
    (snippet,) = [block for block in snippets(pattern) if marker in block]
    module = ModuleType("my_app")
    exec(compile(snippet, "my_app.py", "exec"), module.__dict__)
    app: FastAPI = module.create_app()
    with TestClient(app, raise_server_exceptions=False, root_path=root_path) as client:
        yield client


def test_readme_has_the_four_snippets(pattern: str) -> None:
    assert len(snippets(pattern)) == 4


def test_api_key_guards_everything_but_the_health_checks(pattern: str) -> None:
    path, body = REQUESTS[pattern]
    with client_of(pattern, "API_KEY") as client:
        for key in ("", "wrong", "s\xe9cret"):
            refused = client.post(path, json=body, headers=[(b"X-API-Key", key.encode("latin-1"))])
            assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
            assert refused.json()["detail"] == "X-API-Key: expected a valid key"
            assert refused.headers["www-authenticate"] == "ApiKey"  # RFC 9110, 15.5.2: a 401 names a way to get in
        assert client.get("/metrics").status_code == client.get("/docs").status_code == 401
        assert client.get("/health/live").status_code == 200
        accepted = client.post(path, json=body, headers={"X-API-Key": "secret"})
        assert accepted.status_code not in (401, 404, 405, 500)


def test_health_checks_need_no_api_key_behind_a_prefix_either(pattern: str) -> None:
    with client_of(pattern, "API_KEY", "/digits") as client:
        assert client.get("/digits/health/live").status_code == 200
        assert client.get("/digits/metrics").status_code == client.get("/digits/health").status_code == 401


def test_own_endpoint_answers_and_is_documented(pattern: str) -> None:
    with client_of(pattern, "/opening-hours") as client:
        assert client.get("/opening-hours").json() == {"weekdays": "08:00-18:00"}
        assert client.get("/openapi.json").json()["paths"].keys() >= {"/opening-hours", REQUESTS[pattern][0]}


def test_metric_of_ones_own_stands_on_the_page_once(pattern: str) -> None:
    (start, line) = re.findall(r"`(from prometheus_client .+?|\w+ = Counter\(.+?\))`", section_of(pattern))
    module = ModuleType("my_app")
    exec(f"{start}\n{line}", module.__dict__)
    try:
        module.welcomes.inc(3)
        with client_of(pattern, "/opening-hours") as client:
            for accept in ("text/plain", "application/openmetrics-text"):
                page = client.get("/metrics", headers={"Accept": accept}).text
                for sample in ("welcomes_total 3.0\n", "process_cpu_seconds_total ", "python_info{"):
                    assert page.count(f"\n{sample}") == 1, (accept, sample)
    finally:
        REGISTRY.unregister(module.welcomes)


def test_header_is_in_the_log_line(pattern: str, capsys: pytest.CaptureFixture[str]) -> None:
    customer = 'acme", "status": 999, "x": "\n'
    with client_of(pattern, "x_customer") as client:
        assert client.get("/welcome").json() == {"message": "Welcome, guest"}
        client.get("/welcome", headers={"X-Customer": customer.strip()})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    logged = [line for line in lines if line.get("path") == "/welcome"]
    assert [(line["status"], line["customer"]) for line in logged] == [(200, "guest"), (200, customer.strip())]


def test_cors_answers_preflight_requests(pattern: str) -> None:
    path, body = REQUESTS[pattern]
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    with client_of(pattern, "CORSMiddleware") as client:
        answer = client.options(path, headers=preflight)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert client.post(path, json=body, headers={"Origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN
        assert client.options(path, headers=preflight | {"Origin": "https://example.org"}).status_code == 400
