"""`Backend.call`, without a network: a scripted `send` answers, fails or hangs."""

import asyncio
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

import pytest
from grpc import StatusCode

from common.backends.backend import BREAKER_MIN_TIMEOUT_SECONDS, Backend
from common.backends.classifier_grpc import OUTCOMES
from common.backends.errors import BackendError, Reason
from common.backends.metrics import BackendMetrics
from common.backends.settings import CallerSettings
from common.telemetry.metrics import ServiceMetrics

FAR = 60.0
HANG = "hang"
RETRYABLE = BackendError("error", "it broke", retryable=True)
PERMANENT = BackendError("error", "it broke")


@dataclass
class ScriptedSend:
    """Answers, fails or hangs, in this order, and records the timeout of each call."""

    outcomes: tuple[str | Exception, ...]
    timeouts: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> str:
        self.timeouts.append(seconds)
        outcome = self.outcomes[len(self.timeouts) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        if outcome == HANG:
            await asyncio.sleep(FAR)
        return outcome


@dataclass
class Caller:
    """The request for which a call is made."""

    deadline: float
    timings: dict[str, float] = field(default_factory=dict)
    log: dict[str, object] = field(default_factory=dict)


class Result(NamedTuple):
    """The answer or error of a call, the timeout of each try, and the seconds that the call took."""

    outcome: str | BackendError
    timeouts: list[float]
    seconds: float
    timings: dict[str, float]

    @property
    def reason(self) -> Reason:
        assert isinstance(self.outcome, BackendError)
        return self.outcome.reason


class Reader:
    """A backend, its metrics, and calls."""

    def __init__(self, failures: int = 5, open_seconds: float = FAR) -> None:
        self.metrics = ServiceMetrics()
        settings = CallerSettings(breaker_failures=failures, breaker_open_seconds=open_seconds)
        self.backend = Backend("reader", settings, BackendMetrics(self.metrics.registry))

    @property
    def is_open(self) -> bool:
        return self.metric("backend_breaker_open") == 1

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value; 0 where there is none yet."""
        return self.metrics.registry.get_sample_value(name, {"backend": "reader"} | labels) or 0

    def call(self, *outcomes: str | Exception, seconds: float = FAR) -> Result:
        """Call it once, `seconds` before the deadline."""
        return asyncio.run(self.call_async(*outcomes, seconds=seconds))

    async def call_async(self, *outcomes: str | Exception, seconds: float = FAR) -> Result:
        send, started = ScriptedSend(outcomes), monotonic()
        caller = Caller(started + seconds)
        try:
            outcome: str | BackendError = await self.backend.call(send, caller)
        except BackendError as error:
            outcome = error
        return Result(outcome, send.timeouts, monotonic() - started, caller.timings)


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


# What counts as a failure of the backend


@pytest.mark.parametrize("timed_out", [HANG, BackendError("timeout", "it says", status=504)], ids=["here", "there"])
def test_timeout_counts_as_failure_only_above_the_minimum(timed_out: str | Exception) -> None:
    reader = Reader(failures=1)
    assert reader.call(timed_out, seconds=BREAKER_MIN_TIMEOUT_SECONDS).reason == "timeout"
    assert not reader.is_open
    assert reader.call(timed_out, seconds=1.5 * BREAKER_MIN_TIMEOUT_SECONDS).reason == "timeout"
    assert reader.is_open


@pytest.mark.parametrize("status", [400, 404, 413, 415, 422])
def test_client_error_counts_as_success_of_the_backend(status: int) -> None:
    reader = Reader(failures=2)
    for outcome in (PERMANENT, BackendError("error", "not so", status=status), PERMANENT):
        reader.call(outcome)
    assert not reader.is_open
    reader.call(PERMANENT)
    assert reader.is_open


@pytest.mark.parametrize("status", [None, 408, 429, 500, 502, 503])
def test_any_other_failure_counts(status: int | None) -> None:
    """Once for a call, however often it was tried."""
    reader = Reader(failures=2)
    failure = BackendError("error", "it broke", retryable=True, status=status)
    reader.call(failure, failure)
    assert not reader.is_open
    reader.call(failure, failure)
    assert reader.is_open


def test_connection_that_breaks_under_many_calls_does_not_open_the_breaker() -> None:
    """Each is tried again, on another connection."""

    async def scenario() -> None:
        reader = Reader(failures=5)
        results = await asyncio.gather(*(reader.call_async(RETRYABLE, "seven") for _ in range(32)))
        assert [result.outcome for result in results] == ["seven"] * 32
        assert not reader.is_open

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "code", [code for code in OUTCOMES if code not in (StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND)], ids=str
)
def test_grpc_error_counts_as_failure_unless_the_request_was_wrong(code: StatusCode) -> None:
    """CANCELLED too: it comes from a server that is closing."""
    reader, (reason, retryable, status) = Reader(failures=1), OUTCOMES[code]
    failure = BackendError(reason, f"it answered {code.name}", retryable, status)
    reader.call(failure, failure)
    assert reader.is_open


# The open circuit breaker


def test_call_fails_immediately_while_the_breaker_is_open() -> None:
    reader = Reader(failures=1)
    reader.call(PERMANENT)
    result = reader.call("seven")
    assert (result.reason, result.timeouts) == ("breaker open", [])
    assert result.seconds < 0.01


def test_failed_probe_is_not_retried() -> None:
    """Nor does it wait for a retry, and it reports its own failure."""
    reader = Reader(failures=1, open_seconds=1e-9)
    reader.call(PERMANENT)
    result = reader.call(RETRYABLE, "seven")
    assert (result.reason, len(result.timeouts)) == ("error", 1)
    assert reader.metric("backend_retries_total") == 0
    assert reader.is_open


def test_one_successful_call_closes_the_breaker() -> None:
    async def scenario() -> None:
        reader = Reader(failures=1, open_seconds=0.02)
        await reader.call_async(PERMANENT)
        await asyncio.sleep(0.02)
        probe = asyncio.create_task(reader.call_async(HANG))
        await asyncio.sleep(0)
        assert (await reader.call_async("seven")).reason == "breaker open"
        probe.cancel()
        await asyncio.wait([probe])
        assert reader.is_open
        assert (await reader.call_async("seven")).outcome == "seven"
        assert not reader.is_open

    asyncio.run(scenario())


# Cancelled calls, and our own errors


def test_cancelled_call_does_not_count_as_failure() -> None:
    async def scenario() -> None:
        reader, caller = Reader(failures=1), Caller(monotonic() + FAR)
        call = asyncio.create_task(reader.backend.call(ScriptedSend((HANG,)), caller))
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not reader.is_open
        assert reader.metric("backend_calls_total", outcome="cancelled") == 1
        assert 0.005 < caller.timings["reader"] < 1

    asyncio.run(scenario())


def test_our_own_error_passes_through_and_does_not_count_as_failure() -> None:
    reader = Reader(failures=1)
    with pytest.raises(ZeroDivisionError):
        reader.call(ZeroDivisionError(), "seven")
    assert not reader.is_open


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
