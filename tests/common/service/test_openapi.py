"""A service's OpenAPI document: it is whole, its examples work, and answers are as it says."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from common.domain.digits import MEDIA_TYPES, Digit
from tests.support.http.problems import PROBLEM_JSON
from tests.support.processes import PATTERNS
from tests.support.samples import SEVEN_PIXELS
from tests.support.service_process import Server


@pytest.fixture(scope="module")
def document(server: Server) -> Any:
    return server.get("/openapi.json").json()


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_in_the_openapi_document_leads_somewhere(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    found = set(references(document))
    assert found
    assert found <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def test_the_openapi_document_describes_predict_with_both_kinds_of_body(document: Any) -> None:
    predict = document["paths"]["/predict"]["post"]
    assert predict["requestBody"]["content"].keys() == {"application/json", *MEDIA_TYPES}
    assert {"200", "400", "405", "408", "413", "415", "422", "503", "504"} <= predict["responses"].keys()
    assert all(
        answer["content"].keys() == {PROBLEM_JSON} for status, answer in predict["responses"].items() if status != "200"
    )


def test_the_examples_of_the_openapi_document_work(server: Server, document: Any) -> None:
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    (example,) = schema["anyOf"][0]["examples"]
    assert server.read(example).json()["digit"] == 7


def test_answers_are_as_the_openapi_document_says(server: Server) -> None:
    picture = {"pixels": SEVEN_PIXELS}
    assert Digit.model_validate(server.read(picture).json(), extra="forbid").digit == 7
    digits = TypeAdapter(list[Digit]).validate_python(server.read([picture] * 3).json(), extra="forbid")
    assert len(digits) == 3


def test_the_documentation_page_is_served(server: Server) -> None:
    response = server.get("/docs")
    assert response.status_code == 200
    assert "/openapi.json" in response.text


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_error_of_every_pattern_is_described_as_a_problem(
    pattern: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Below `/v2` errors have the protocol's form, and a probe that says no answers as one that says yes."""
    monkeypatch.setenv("GRPC_PORT", "0")
    monkeypatch.setenv("MANAGER_DATABASE", str(tmp_path / "manager.sqlite"))
    module = {"web_single": "web_single.predictor", "batch": "batch.manager"}.get(pattern, f"{pattern}.proxy")
    document = import_module(module).create_app().openapi()
    errors = {
        (path, method, status): answer.get("content", {}).keys()
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for status, answer in operation["responses"].items()
        if status >= "400" and not path.startswith("/v2")
    }
    assert errors
    assert {key for key, content in errors.items() if content != {PROBLEM_JSON}} == set()
