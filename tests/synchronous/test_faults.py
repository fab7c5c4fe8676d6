"""Whatever its predictor does, the flow ends in time, says what it lacks, and is back by itself (S3, S4)."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse

import pytest

from tests.support.http import fault_proxy as faults
from tests.support.http.fault_proxy import PASS, Fault
from tests.support.http.raw_http import raw_post
from tests.support.samples import SEVEN_PIXELS
from tests.support.synchronous_letters import (
    SLACK_SECONDS,
    Flow,
    falls_back,
    hung,
    is_back,
    is_read,
    names_the_predictor,
    sort_seven,
)

full = pytest.mark.full


rest_only = pytest.mark.parametrize("flow", ["http"], indirect=True)


@contextmanager
def during(flow: Flow, fault: Fault, name: str) -> Iterator[None]:
    """The fault lasts as long as the block; then all is well by itself."""
    flow.link.set(fault)
    try:
        yield
    finally:
        flow.link.set(PASS)
    is_back(flow, name)


CASES: dict[str, tuple[Fault, int, int]] = {
    "slow": (Fault(delay_seconds=0.5), 504, 504),
    "half-open": (faults.SWALLOW, 504, 504),
    "refusing": (faults.REFUSE, 503, 503),
    "unavailable": (faults.UNAVAILABLE, 503, 503),
    "reset": (faults.RESET, 502, 503),
    "reset in its answer": (faults.CUT_BY_RESET, 502, 503),
    "truncated": (faults.CUT, 502, 503),
    "random bytes": (faults.RANDOM, 502, 503),
}
"""The fault, and without the fallback the status over REST and over gRPC, to which a broken connection is a refusal."""
QUICK = ("reset",)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else full) for name in CASES])
def test_flow_answers_in_time_without_its_predictor_and_recovers(flow: Flow, name: str) -> None:
    """Every letter is answered by its deadline, the first as the last."""
    fault, over_rest, over_grpc = CASES[name]
    with during(flow, fault, name):
        names_the_predictor(sort_seven(flow.hard), over_grpc if flow.is_grpc else over_rest)
        for _ in range(2 if name in QUICK else 8):
            falls_back(sort_seven(flow.soft))


RUBBISH = {
    "500": Fault(answer=faults.http(500)),
    "a web page": faults.HTML,
    "JSON of another protocol": faults.ANOTHER_PROTOCOL,
    "NaN": faults.NAN,
    "nine classes": faults.NINE_CLASSES,
    "two rows": faults.TWO_ROWS,
    "a sum of two": faults.SUM_OF_TWO,
}


@rest_only
@pytest.mark.parametrize("name", RUBBISH)
def test_invalid_answer_of_the_predictor_is_no_reading(flow: Flow, name: str) -> None:
    with during(flow, RUBBISH[name], name):
        names_the_predictor(sort_seven(flow.hard), 502)
        falls_back(sort_seven(flow.soft))


def test_flow_meets_a_short_deadline_while_the_predictor_hangs(flow: Flow) -> None:
    with hung(flow.predictor):
        falls_back(sort_seven(flow.soft, 300))
        names_the_predictor(sort_seven(flow.hard, 300), 504)
    is_back(flow, "a short deadline")


@rest_only
def test_deadline_of_a_millisecond_is_answered_without_a_call(flow: Flow) -> None:
    request = raw_post("/letters", {"pixels": SEVEN_PIXELS}, **{"X-Request-Timeout-Ms": "1"})
    for proxy, status in ((flow.soft, 200), (flow.hard, 504)):
        with socket.create_connection(("127.0.0.1", proxy.port), SLACK_SECONDS) as connection:
            connection.sendall(request)
            answer = HTTPResponse(connection)
            answer.begin()
        assert answer.status == status


def test_call_is_retried_after_one_connection_reset(flow: Flow) -> None:
    with one_more_try(flow):
        flow.link.set(faults.RESET, once=True)
        assert is_read(sort_seven(flow.soft))


@rest_only
def test_call_is_retried_after_one_503(flow: Flow) -> None:
    with one_more_try(flow):
        flow.link.set(faults.UNAVAILABLE, once=True)
        assert is_read(sort_seven(flow.soft))


@rest_only
def test_503_with_retry_after_is_not_retried(flow: Flow) -> None:
    """Though it would help: the next call finds all well."""
    with one_more_try(flow, tries=0):
        flow.link.set(faults.COME_LATER, once=True)
        falls_back(sort_seven(flow.soft))
        assert is_read(sort_seven(flow.soft))


@contextmanager
def one_more_try(flow: Flow, tries: int = 1) -> Iterator[None]:
    """In this block the predictor is asked so often for a second time."""
    before = flow.soft.metric("backend_retries_total", backend="predictor")
    yield
    assert flow.soft.metric("backend_retries_total", backend="predictor") == before + tries
