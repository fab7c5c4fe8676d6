"""No request makes the manager fail: every operation of its OpenAPI document, with what that allows and forbids."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import given
from schemathesis import GenerationMode

from tests.support.batch.manager import Manager, manager
from tests.support.inputs.fuzzing import run_property

OPERATIONS = [
    ("GET", "/schedules"),
    ("POST", "/schedules"),
    ("GET", "/schedules/{schedule_id}"),
    ("DELETE", "/schedules/{schedule_id}"),
    ("GET", "/runs"),
    ("POST", "/runs"),
    ("GET", "/runs/{run_id}"),
    ("POST", "/runs/{run_id}/retry"),
    ("POST", "/runs/{run_id}/cancel"),
]
CASES = 50


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    """Without data, so that no run can begin."""
    with manager(tmp_path_factory.mktemp("batch")) as service:
        service.start()
        yield service


@pytest.mark.full
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=" ".join)
def test_answers_to_what_the_document_allows_and_forbids_are_as_it_says(
    service: Manager, method: str, path: str
) -> None:
    url = service.server.url
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    # Which folders, rules and ids there are is beyond a schema.
    document.config.checks.update(excluded_check_names=["positive_data_acceptance"])
    operation = document[path][method]

    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def check_allowed(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(base_url=url)

    @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def check_forbidden(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(base_url=url)

    run_property(check_allowed, CASES)
    if method == "POST" or "{" in path or "/runs" in path:  # what takes nothing forbids nothing
        run_property(check_forbidden, CASES)
    assert service.server.get("/health/ready").status_code == 200
