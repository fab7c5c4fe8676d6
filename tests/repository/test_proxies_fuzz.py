"""No input makes a front service fail: what its OpenAPI document allows and forbids, and whatever else may come.

The proxies of all patterns that have one, each before its real services. Of the 5xx only 502, 503 and 504 may come,
which tell of other services or of time; every success is as the document says; right answers afterwards.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from typing import Any, NamedTuple

import httpx
import pytest
import schemathesis
from hypothesis import given, strategies as st
from schemathesis import GenerationMode

from tests.support.http.raw_http import raw_request
from tests.support.inputs.fuzzing import AS_JSON, DOCUMENTS, HEADERS, JSON, PICTURE, damaged, run_property
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server
from tests.support.stack import Stack, asynchronous_stack, horizontal_stack, synchronous_stack, vertical_stack

MEANT = (502, 503, 504)
STREAMED = {"Accept": "text/event-stream", "Content-Type": "application/json"}
pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]
SYSTEMS: dict[str, Callable[[], AbstractContextManager[Stack]]] = {
    "synchronous": synchronous_stack,
    "asynchronous": asynchronous_stack,
    "microservice_vertical": vertical_stack,
    "microservice_horizontal": horizontal_stack,
}
ENDPOINTS = [
    ("synchronous", "/letters"),
    ("asynchronous", "/jobs"),
    ("microservice_vertical", "/images"),
    ("microservice_vertical", "/predict"),
    ("microservice_horizontal", "/predict"),
    ("microservice_horizontal", "/jobs"),
]
MOST = {"microservice_horizontal": 100}
"""Cases, where what is between the request and the pattern is the same as elsewhere."""
CASES = 200


class Endpoint(NamedTuple):
    """What is asked, and what its service's own document says of it."""

    front: Server
    path: str
    operation: Any
    most: int

    def post(self, body: bytes, headers: dict[str, str]) -> None:
        """Ask, and look at the answer."""
        self.is_fine(*raw_request(self.front, "POST", self.path, body, headers))

    def is_fine(self, status: int, content_type: str, body: bytes) -> None:
        """What the document promises, or a problem that is the caller's, another service's or one of time."""
        if content_type.startswith("text/plain"):
            assert status == 400  # uvicorn's own, for what is no HTTP
        elif content_type.startswith("text/event-stream"):
            assert body.startswith(b"event: registered\n")
        else:
            assert status < 500 or status in MEANT, body
            response = httpx.Response(status, headers={"Content-Type": content_type}, content=body)
            response.request, response.elapsed = httpx.Request("POST", self.front.url), timedelta()
            assert str(status) in self.operation.definition.raw["responses"]
            self.operation.validate_response(response)

    def run(self, check: Callable[[], None]) -> None:
        """As many cases as this endpoint gets."""
        run_property(check, self.most)

    def still_right(self) -> None:
        """A seven goes where it should."""
        if self.path == "/jobs":
            job = self.front.get(
                self.front.client.post("/jobs", json=SEVEN_JSON).headers["location"] + "?wait=20"
            ).json()
            assert (job["status"], job["prediction"]["digit"]) == ("done", 7)
            return
        path = "/images" if self.path == "/predict" else self.path
        sent = self.front.client.post(path, json=SEVEN_JSON).json()
        if self.path == "/letters":
            assert (sent["bin"], sent["degraded"]) == ("7", False)
        else:
            readings = [self.front.read(body).json() for body in (SEVEN_JSON, sent)]
            assert [reading["digit"] for reading in readings] == [7, 7]
            assert not any(reading.get("degraded") or reading.get("missing") for reading in readings)


class Systems(dict[str, Stack]):
    """By their names; each is started when it is needed."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, name: str) -> Stack:
        self[name] = self._stack.enter_context(SYSTEMS[name]())
        return self[name]


@pytest.fixture(scope="module")
def systems() -> Iterator[Systems]:
    with ExitStack() as stack:
        yield Systems(stack)


@pytest.fixture(params=ENDPOINTS, ids="".join)
def endpoint(systems: Systems, request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    """Each in turn; it still answers right in the end."""
    name, path = request.param
    front = systems[name].front
    document = schemathesis.openapi.from_url(f"{front.url}/openapi.json")
    # Ink is beyond a schema, and so is which ids are kept.
    document.config.checks.update(excluded_check_names=["positive_data_acceptance"])
    endpoint = Endpoint(front, path, document[path]["POST"], MOST.get(name, CASES))
    yield endpoint
    endpoint.still_right()


@pytest.fixture(scope="module")
def documents(systems: Systems) -> st.SearchStrategy[Any]:
    """JSON that may be pictures, or name letters: one that is kept, others, and what is no name."""
    kept = systems["microservice_vertical"].front.client.post("/images", json=SEVEN_JSON).json()["image_id"]
    ids = st.just(kept) | st.uuids().map(str) | JSON
    named = st.fixed_dictionaries({"image_id": ids}, optional={"pixels": JSON, "more": JSON})
    return st.one_of(DOCUMENTS, named, st.lists(named | PICTURE, max_size=3))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_answers_to_what_the_document_allows_and_forbids_are_as_it_says(
    endpoint: Endpoint, mode: GenerationMode
) -> None:
    @given(case=endpoint.operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(base_url=endpoint.front.url)

    endpoint.run(check)


def test_any_json_is_answered(endpoint: Endpoint, documents: st.SearchStrategy[Any]) -> None:
    @given(document=documents)
    def check(document: Any) -> None:
        endpoint.post(json.dumps(document).encode(), AS_JSON)

    endpoint.run(check)


def test_any_bytes_under_any_headers_are_answered(endpoint: Endpoint, documents: st.SearchStrategy[Any]) -> None:
    encoded = documents.map(lambda document: json.dumps(document).encode())

    @given(body=st.binary(max_size=300) | damaged() | encoded, headers=HEADERS | st.just(STREAMED))
    def check(body: bytes, headers: dict[str, str]) -> None:
        endpoint.post(body, headers)

    endpoint.run(check)


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg"])
def test_any_damaged_picture_is_answered(endpoint: Endpoint, content_type: str) -> None:
    @given(body=damaged())
    def check(body: bytes) -> None:
        endpoint.post(body, {"Content-Type": content_type})

    endpoint.run(check)


def test_any_other_method_is_refused(endpoint: Endpoint) -> None:
    methods = st.sampled_from(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])

    @given(method=methods, headers=HEADERS, body=st.binary(max_size=20))
    def check(method: str, headers: dict[str, str], body: bytes) -> None:
        status, content_type, _ = raw_request(endpoint.front, method, endpoint.path, body, headers)
        assert status in (400, 405)
        assert content_type == "application/problem+json" or content_type.startswith("text/plain")

    endpoint.run(check)


def test_an_answer_unlike_the_document_would_be_noticed(endpoint: Endpoint) -> None:
    """Lest the checks above pass over everything."""
    with pytest.raises(AssertionError, match="is a required property"):
        endpoint.is_fine({"/images": 201, "/jobs": 202}.get(endpoint.path, 200), "application/json", b"{}")


def test_after_all_this_no_service_has_logged_an_error(systems: Systems) -> None:
    for system in systems.values():
        for name, server in system.servers.items():
            lines = server.log_lines() if name != "redis" else []
            assert [line for line in lines if line["level"] == "ERROR" or line.get("status", 0) == 500] == [], name
