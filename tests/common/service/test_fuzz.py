"""No input makes a 5xx: cases generated from the OpenAPI document, and bytes, headers, JSON and pictures from nowhere.

A hundred cases an endpoint in the quick suite, 1,000 in the full one; right answers afterwards.
"""

import json
import socket
from typing import Any

import pytest
import schemathesis
from hypothesis import given, strategies as st
from schemathesis import GenerationMode

from common.domain.digits import Digit
from tests.support.http.raw_http import raw_request
from tests.support.inputs.fuzzing import AS_JSON, DOCUMENTS, HEADERS, PIXELS, damaged, run_property
from tests.support.service_process import Server

PATHS = ["/predict", "/health/live", "/health/ready", "/metrics"]
full = [pytest.mark.full, pytest.mark.timeout(600)]
cases = pytest.mark.parametrize("cases", [pytest.param(100, id="quick"), pytest.param(1_000, id="full", marks=full)])


# From the OpenAPI document


@cases
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_answers_to_what_the_document_allows_and_forbids_are_as_it_says(
    server: Server, mode: GenerationMode, cases: int
) -> None:
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    document.config.checks.update(excluded_check_names=["positive_data_acceptance"])  # ink is beyond a schema
    operation = document["/predict"]["POST"]

    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(base_url=server.url)

    run_property(check, cases // 2)
    server.still_reads_right()


@pytest.mark.parametrize("path", PATHS[1:])
def test_probes_and_metrics_answer_as_the_document_says(server: Server, path: str) -> None:
    schemathesis.openapi.from_url(f"{server.url}/openapi.json")[path]["GET"].Case().call_and_validate(
        base_url=server.url
    )


# From nowhere


def is_fine(status: int, content_type: str, body: bytes) -> None:
    """A digit, digits, or a problem that is the caller's; 503 and 504 may come of a deadline of 1 ms."""
    if status == 200:
        answer = json.loads(body)
        for reading in answer if isinstance(answer, list) else [answer]:
            Digit.model_validate(reading)
    elif content_type.startswith("text/plain"):
        assert status == 400  # uvicorn's own, for what is no HTTP
    else:
        assert 400 <= status < 500 or status in (503, 504), body
        assert content_type == "application/problem+json"
        assert json.loads(body)["status"] == status


@cases
def test_any_bytes_under_any_headers_are_answered(server: Server, cases: int) -> None:
    @given(body=st.binary(max_size=300) | damaged() | DOCUMENTS.map(lambda v: json.dumps(v).encode()), headers=HEADERS)
    def check(body: bytes, headers: dict[str, str]) -> None:
        is_fine(*raw_request(server, "POST", "/predict", body, headers))

    run_property(check, cases)
    server.still_reads_right()


@cases
def test_any_json_is_answered(server: Server, cases: int) -> None:
    @given(document=DOCUMENTS)
    def check(document: Any) -> None:
        is_fine(*raw_request(server, "POST", "/predict", json.dumps(document).encode(), AS_JSON))

    run_property(check, cases)
    server.still_reads_right()


@cases
def test_any_picture_with_ink_is_read(server: Server, cases: int) -> None:
    @given(pixels=PIXELS.filter(any))
    def check(pixels: list[float]) -> None:
        response = server.read({"pixels": pixels})
        assert response.status_code == 200, response.text
        Digit.model_validate(response.json())

    run_property(check, cases)


@cases
@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg"])
def test_any_damaged_picture_is_answered(server: Server, content_type: str, cases: int) -> None:
    @given(body=damaged())
    def check(body: bytes) -> None:
        is_fine(*raw_request(server, "POST", "/predict", body, {"Content-Type": content_type}))

    run_property(check, cases)
    server.still_reads_right()


@cases
@pytest.mark.parametrize("path", PATHS)
def test_any_method_path_and_headers_are_answered(server: Server, path: str, cases: int) -> None:
    methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
    urls = st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters=" "), max_size=20)

    @given(method=methods, rest=urls, headers=HEADERS, body=st.binary(max_size=20))
    def check(method: str, rest: str, headers: dict[str, str], body: bytes) -> None:
        status, content_type, _ = raw_request(server, method, f"{path}{rest}", body, headers)
        assert status < 500 or status in (503, 504)
        assert status < 400 or content_type == "application/problem+json" or content_type.startswith("text/plain")

    run_property(check, cases // 2)
    server.still_reads_right()


@cases
def test_bytes_that_are_no_http_harm_nothing(server: Server, cases: int) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n"

    @given(data=st.binary(max_size=200) | st.builds(bytes.__add__, st.just(head), st.binary(max_size=50)))
    def check(data: bytes) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(data)

    run_property(check, cases)
    server.still_reads_right()


def test_after_all_this_the_server_has_logged_no_error(server: Server) -> None:
    server.still_reads_right()
    assert [line for line in server.log_lines() if line["level"] == "ERROR" or line.get("status", 0) == 500] == []
