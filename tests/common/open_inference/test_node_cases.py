"""The ONNX project's own operator cases: what onnxruntime can run is served, bit for bit as it answers by itself."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from common.inference.model_file import ModelError
from tests.support.open_inference.in_process import assert_same
from tests.support.open_inference.node_cases import Case, cases, directly, one_of_each_operator
from tests.support.open_inference.node_exceptions import EXCEPTIONS
from tests.support.open_inference.on_sockets import swapping_on_sockets
from tests.support.open_inference.swapping import SwappingInProcess, swapping_in_process

MOST_EXCEPTIONS = 31
"""May only shrink."""
WAYS = ("json", "binary", "grpc")
ON_SOCKETS = 50


@pytest.fixture(scope="module")
def service() -> Iterator[SwappingInProcess]:
    with swapping_in_process() as service:
        yield service


def failure(service: Any, case: Case, ways: Sequence[str]) -> str:
    """Why a case that onnxruntime runs is not served as it answers; empty if it is."""
    direct = directly(case)
    assert not isinstance(direct, str), direct
    inputs, expected = direct
    try:
        served = service.serve(case.model) or service
        for way in ways:
            assert_same(served.infer(way, inputs), expected)
    except (AssertionError, ModelError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_exceptions_only_become_fewer() -> None:
    assert len(EXCEPTIONS) <= MOST_EXCEPTIONS


@pytest.mark.timeout(300)
@pytest.mark.parametrize("every", [pytest.param(16, id="quick"), pytest.param(1, id="full", marks=pytest.mark.full)])
def test_every_case_that_onnxruntime_runs_is_served_with_the_same_result(
    service: SwappingInProcess, every: int
) -> None:
    """REST in JSON and in binary, gRPC; an exception that is served after all must leave the list."""
    failures: dict[str, str] = {}
    ran = 0
    for case in cases(every):
        if isinstance(directly(case), str):  # no kernel, or a type that numpy lacks
            continue
        ran += 1
        found = failure(service, case, WAYS)
        if bool(found) != (case.name in EXCEPTIONS):
            failures[case.name] = found or "is served, and so no exception any more"
    assert failures == {}
    assert ran > 1_600 / every / 2  # of 1,615


@pytest.mark.full
def test_fifty_cases_are_served_the_same_on_real_sockets() -> None:
    """One operator of each so many, in the order of their names; streams of requests too."""
    asked = 0
    failures: dict[str, str] = {}
    with swapping_on_sockets() as service:
        for case in one_of_each_operator():
            if asked == ON_SOCKETS:
                break
            if case.name in EXCEPTIONS or isinstance(directly(case), str):
                continue
            asked += 1
            if found := failure(service, case, (*WAYS, "stream")):
                failures[case.name] = found
    assert failures == {}
    assert asked == ON_SOCKETS
