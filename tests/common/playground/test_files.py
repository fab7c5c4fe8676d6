"""The files of the page: served with strict headers, and no others."""

import httpx
import pytest

from tests.support.service_process import Server


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
