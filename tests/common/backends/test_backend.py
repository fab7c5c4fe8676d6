"""A call of `Backend`: retried once, ended before its deadline, counted and timed. Nothing goes over a network."""

import pytest

from common.backends.errors import BackendError, Reason
from tests.support.scripted_backend import HANG, PERMANENT, RETRYABLE, Reader

# Retries


def test_backend_is_called_once_when_it_answers() -> None:
    result = Reader().call("seven", "eight")
    assert (result.outcome, len(result.timeouts)) == ("seven", 1)


def test_retryable_failure_is_retried_once_with_the_time_that_is_left() -> None:
    reader = Reader()
    result = reader.call(RETRYABLE, "seven", seconds=1)
    assert result.outcome == "seven"
    first, second = result.timeouts
    assert second < first - 0.009, "there is a delay between them"
    assert reader.metric("backend_retries_total") == 1


def test_call_fails_after_a_second_failure() -> None:
    result = Reader().call(RETRYABLE, RETRYABLE, "seven")
    assert (result.reason, len(result.timeouts)) == ("error", 2)


@pytest.mark.parametrize("failure", [PERMANENT, HANG], ids=["failed", "timed out"])
def test_permanent_failure_and_timeout_are_not_retried(failure: str | BackendError) -> None:
    reader = Reader()
    assert len(reader.call(failure, "seven", seconds=0.05).timeouts) == 1
    assert reader.metric("backend_retries_total") == 0


# Deadlines


def test_call_is_not_retried_when_no_time_is_left() -> None:
    for _ in range(20):  # the delay is random
        result = Reader().call(RETRYABLE, "seven", seconds=0.011)
        assert (result.reason, len(result.timeouts)) == ("error", 1)


@pytest.mark.parametrize("seconds", [-1, 0, 0.0005, 0.001])
def test_backend_is_not_called_with_less_than_a_millisecond_left(seconds: float) -> None:
    reader = Reader(failures=1)
    result = reader.call("seven", seconds=seconds)
    assert (result.reason, result.timeouts) == ("timeout", [])
    assert not reader.is_open


@pytest.mark.parametrize("seconds", [0.2, 0.4])
@pytest.mark.parametrize("outcomes", [(HANG,), (RETRYABLE, HANG)], ids=["first", "second"])
def test_call_ends_before_its_deadline(seconds: float, outcomes: tuple[str | Exception, ...]) -> None:
    result = Reader().call(*outcomes, seconds=seconds)
    assert result.reason == "timeout"
    assert len(result.timeouts) == len(outcomes)
    assert 0.8 * seconds < result.seconds < seconds


# Problems and metrics


@pytest.mark.parametrize(("reason", "status"), [("timeout", 504), ("refused", 503), ("error", 502)])
def test_failure_becomes_a_problem_that_names_the_backend(reason: Reason, status: int) -> None:
    result = Reader().call(BackendError(reason, "its own words"))
    assert isinstance(result.outcome, BackendError)
    problem = result.outcome.problem()
    assert (problem.status_code, problem.detail) == (status, f"reader: {reason} (its own words)")
    assert problem.extensions == {"backend": "reader", "reason": reason}
    assert problem.headers == ({"Retry-After": "1"} if status == 503 else None)


def test_each_call_is_counted_once_by_outcome_and_timed() -> None:
    reader = Reader(failures=2)
    calls = [
        reader.call("seven"),
        reader.call(RETRYABLE, "seven"),
        reader.call(HANG, seconds=0.05),
        reader.call(BackendError("refused", "busy")),
        reader.call(PERMANENT),
        reader.call("seven"),
    ]
    outcomes = {"answered": 2, "timeout": 1, "refused": 1, "error": 1, "breaker open": 1}
    for outcome, count in outcomes.items():
        assert reader.metric("backend_calls_total", outcome=outcome) == count
    assert reader.metric("backend_call_duration_seconds_count") == len(calls)
    assert all(0 < result.timings["reader"] <= result.seconds for result in calls)
    assert reader.metric("backend_call_duration_seconds_sum") == pytest.approx(
        sum(result.timings["reader"] for result in calls)
    )
