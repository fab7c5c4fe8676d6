"""Tracing: the caller's trace id comes back in a new span, and stands in every line of the log."""

import re

import pytest

from tests.support.samples import SEVEN_PIXELS
from tests.support.service_process import Server

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def traceparent_of(server: Server, **headers: str | bytes) -> tuple[str, str, str]:
    """Trace, span and flags of an answer."""
    encoded = [
        (name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers.items()
    ]
    response = server.client.get("/health/live", headers=encoded)
    assert response.status_code == 200
    match = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", response.headers["traceparent"])
    assert match
    return match[1], match[2], match[3]


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_trace_is_kept_in_a_span_of_our_own(server: Server, flags: str) -> None:
    trace, span, answered = traceparent_of(server, traceparent=f"00-{TRACE}-{SPAN}-{flags}")
    assert (trace, answered) == (TRACE, flags)
    assert span != SPAN


def test_a_later_version_of_the_standard_is_understood(server: Server) -> None:
    assert traceparent_of(server, traceparent=f"cc-{TRACE}-{SPAN}-01-more")[0] == TRACE


def test_without_a_trace_each_request_begins_its_own(server: Server) -> None:
    traces = {traceparent_of(server)[0] for _ in range(20)}
    assert len(traces) == 20


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        b"\xff\xfe" * 30,
        "0" * 5000,
    ],
)
def test_a_malformed_trace_is_replaced_by_a_new_one(server: Server, malformed: str | bytes) -> None:
    trace, span, _ = traceparent_of(server, traceparent=malformed)
    assert trace not in (TRACE, "0" * 32)
    assert span not in (SPAN, "0" * 16)


def test_every_line_of_the_log_is_json_and_a_requests_line_carries_its_trace(server: Server) -> None:
    response = server.read({"pixels": SEVEN_PIXELS}, traceparent=f"00-{'ab' * 16}-{SPAN}-01")
    (line,) = server.logged(trace_id="ab" * 16)
    assert line["span_id"] == response.headers["traceparent"].split("-")[2]
    assert (line["method"], line["path"], line["status"], line["level"]) == ("POST", "/predict", 200, "INFO")
    assert line["ms"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


@pytest.mark.parametrize("path", ["/%22%0a%5c", "/%00%1b", "/%ff%fe", "/💣", "/a%20b?c=%22"])
def test_a_hostile_path_cannot_break_the_log(server: Server, path: str) -> None:
    response = server.get(path)
    assert response.status_code == 404
    (line,) = server.logged(trace_id=response.headers["traceparent"].split("-")[1])
    assert line["status"] == 404
