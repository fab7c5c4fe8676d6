"""How one service calls another, without a network: what is asked here answers, fails or hangs as a test says."""

import asyncio
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

import pytest
from grpc import StatusCode

from common.backends.backend import FAIR_SECONDS, Backend, BackendError, Reason
from common.backends.classifier_grpc import OUTCOMES
from common.backends.settings import CallerSettings
from common.service.metrics import ServiceMetrics

FAR = 60.0
HANG = "hang"
AGAIN = BackendError("error", "it broke", again=True)
NOT_AGAIN = BackendError("error", "it broke")


@dataclass
class Asked:
    """Answers, fails or hangs, in this order, and notes the seconds that it is given each time."""

    outcomes: tuple[str | Exception, ...]
    given: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> str:
        self.given.append(seconds)
        outcome = self.outcomes[len(self.given) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        if outcome == HANG:
            await asyncio.sleep(FAR)
        return outcome


@dataclass
class Caller:
    """On whose behalf a call is made."""

    deadline: float
    timings: dict[str, float] = field(default_factory=dict)
    log: dict[str, object] = field(default_factory=dict)


class Called(NamedTuple):
    """What became of a call: an answer or an error, the seconds that each try was given, and those that it took."""

    outcome: str | BackendError
    given: list[float]
    took: float
    timings: dict[str, float]

    @property
    def reason(self) -> Reason:
        assert isinstance(self.outcome, BackendError)
        return self.outcome.reason


class Reader:
    """A backend, what is told of it, and calls."""

    def __init__(self, failures: int = 5, open_seconds: float = FAR) -> None:
        self.metrics = ServiceMetrics()
        settings = CallerSettings(breaker_failures=failures, breaker_open_seconds=open_seconds)
        self.backend = Backend("reader", settings, self.metrics)

    @property
    def is_open(self) -> bool:
        return self.figure("backend_breaker_open") == 1

    def figure(self, name: str, **labels: str) -> float:
        """A metric's value; 0 where there is none yet."""
        return self.metrics.registry.get_sample_value(name, {"backend": "reader"} | labels) or 0

    def call(self, *outcomes: str | Exception, seconds: float = FAR) -> Called:
        """Call it once, with so long until the deadline."""
        return asyncio.run(self.called(*outcomes, seconds=seconds))

    async def called(self, *outcomes: str | Exception, seconds: float = FAR) -> Called:
        asked, began = Asked(outcomes), monotonic()
        caller = Caller(began + seconds)
        try:
            outcome: str | BackendError = await self.backend.call(asked, caller)
        except BackendError as error:
            outcome = error
        return Called(outcome, asked.given, monotonic() - began, caller.timings)


# How often


def test_what_is_answered_is_asked_once() -> None:
    called = Reader().call("seven", "eight")
    assert (called.outcome, len(called.given)) == ("seven", 1)


def test_what_may_be_asked_again_is_asked_once_more_and_has_what_is_left() -> None:
    reader = Reader()
    called = reader.call(AGAIN, "seven", seconds=1)
    assert called.outcome == "seven"
    first, second = called.given
    assert second < first - 0.009, "a pause lies between them"
    assert reader.figure("backend_retries_total") == 1


def test_nothing_is_asked_a_third_time() -> None:
    called = Reader().call(AGAIN, AGAIN, "seven")
    assert (called.reason, len(called.given)) == ("error", 2)


@pytest.mark.parametrize("failure", [NOT_AGAIN, HANG], ids=["failed", "timed out"])
def test_what_must_not_be_asked_again_is_not(failure: str | BackendError) -> None:
    reader = Reader()
    assert len(reader.call(failure, "seven", seconds=0.05).given) == 1
    assert reader.figure("backend_retries_total") == 0


# How long


def test_nothing_is_asked_again_where_no_time_is_left_for_it() -> None:
    for _ in range(20):  # the pause is random
        called = Reader().call(AGAIN, "seven", seconds=0.011)
        assert (called.reason, len(called.given)) == ("error", 1)


@pytest.mark.parametrize("seconds", [-1, 0, 0.0005, 0.001])
def test_nothing_is_asked_with_less_than_a_millisecond_left(seconds: float) -> None:
    reader = Reader(failures=1)
    called = reader.call("seven", seconds=seconds)
    assert (called.reason, called.given) == ("timeout", [])
    assert not reader.is_open


@pytest.mark.parametrize("seconds", [0.2, 0.4])
@pytest.mark.parametrize("outcomes", [(HANG,), (AGAIN, HANG)], ids=["first", "second"])
def test_a_call_ends_before_its_deadline(seconds: float, outcomes: tuple[str | Exception, ...]) -> None:
    called = Reader().call(*outcomes, seconds=seconds)
    assert called.reason == "timeout"
    assert len(called.given) == len(outcomes)
    assert 0.8 * seconds < called.took < seconds


# What counts against the backend


@pytest.mark.parametrize("timed_out", [HANG, BackendError("timeout", "it says", status=504)], ids=["here", "there"])
def test_a_time_out_counts_only_where_the_time_was_fair(timed_out: str | Exception) -> None:
    reader = Reader(failures=1)
    assert reader.call(timed_out, seconds=FAIR_SECONDS).reason == "timeout"
    assert not reader.is_open
    assert reader.call(timed_out, seconds=1.5 * FAIR_SECONDS).reason == "timeout"
    assert reader.is_open


@pytest.mark.parametrize("status", [400, 404, 413, 415, 422])
def test_what_was_wrong_with_the_request_speaks_for_the_backend(status: int) -> None:
    reader = Reader(failures=2)
    for outcome in (NOT_AGAIN, BackendError("error", "not so", status=status), NOT_AGAIN):
        reader.call(outcome)
    assert not reader.is_open
    reader.call(NOT_AGAIN)
    assert reader.is_open


@pytest.mark.parametrize("status", [None, 408, 429, 500, 502, 503])
def test_any_other_failure_counts(status: int | None) -> None:
    """Each try for itself."""
    reader = Reader(failures=2)
    failure = BackendError("error", "it broke", again=True, status=status)
    reader.call(failure, failure)
    assert reader.is_open


@pytest.mark.parametrize("code", OUTCOMES.keys() - {StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND}, ids=str)
def test_a_refusal_over_grpc_counts_unless_the_request_was_wrong(code: StatusCode) -> None:
    """CANCELLED too: it comes from a server that closes."""
    reader, (reason, again, status) = Reader(failures=1), OUTCOMES[code]
    reader.call(BackendError(reason, f"it answered {code.name}", again, status))
    assert reader.is_open


# While the breaker is open


def test_while_the_breaker_is_open_nothing_is_asked_and_the_answer_comes_at_once() -> None:
    reader = Reader(failures=1)
    reader.call(NOT_AGAIN)
    called = reader.call("seven")
    assert (called.reason, called.given) == ("breaker open", [])
    assert called.took < 0.01


def test_the_call_that_opens_the_breaker_tells_what_went_wrong() -> None:
    """And there is no second try, nor a wait for it."""
    reader = Reader(failures=1)
    called = reader.call(AGAIN, "seven")
    assert (called.reason, len(called.given)) == ("error", 1)
    assert reader.figure("backend_retries_total") == 0


def test_one_call_tries_it_again_and_closes_the_breaker() -> None:
    async def scenario() -> None:
        reader = Reader(failures=1, open_seconds=0.02)
        await reader.called(NOT_AGAIN)
        await asyncio.sleep(0.02)
        probe = asyncio.create_task(reader.called(HANG))
        await asyncio.sleep(0)
        assert (await reader.called("seven")).reason == "breaker open"
        probe.cancel()
        await asyncio.wait([probe])
        assert reader.is_open
        assert (await reader.called("seven")).outcome == "seven"
        assert not reader.is_open

    asyncio.run(scenario())


# Callers who leave, and errors of our own


def test_a_caller_who_leaves_ends_the_call_and_counts_for_nothing() -> None:
    async def scenario() -> None:
        reader, caller = Reader(failures=1), Caller(monotonic() + FAR)
        call = asyncio.create_task(reader.backend.call(Asked((HANG,)), caller))
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not reader.is_open
        assert reader.figure("backend_calls_total", outcome="abandoned") == 1
        assert 0.005 < caller.timings["reader"] < 1

    asyncio.run(scenario())


def test_an_error_of_our_own_passes_through_and_counts_for_nothing() -> None:
    reader = Reader(failures=1)
    with pytest.raises(ZeroDivisionError):
        reader.call(ZeroDivisionError(), "seven")
    assert not reader.is_open


# What is told


@pytest.mark.parametrize(("reason", "status"), [("timeout", 504), ("refused", 503), ("error", 502)])
def test_a_failure_names_the_backend_and_its_problem_has_the_fitting_status(reason: Reason, status: int) -> None:
    called = Reader().call(BackendError(reason, "its own words"))
    assert isinstance(called.outcome, BackendError)
    problem = called.outcome.problem()
    assert (problem.status_code, problem.detail) == (status, f"reader: {reason} (its own words)")
    assert problem.extensions == {"backend": "reader", "reason": reason}
    assert problem.headers == ({"Retry-After": "1"} if status == 503 else None)


def test_every_call_is_counted_once_by_how_it_ended_and_its_time_is_told() -> None:
    reader = Reader(failures=2)
    calls = [
        reader.call("seven"),
        reader.call(AGAIN, "seven"),
        reader.call(HANG, seconds=0.05),
        reader.call(BackendError("refused", "busy")),
        reader.call(NOT_AGAIN),
        reader.call("seven"),
    ]
    outcomes = {"answered": 2, "timeout": 1, "refused": 1, "error": 1, "breaker open": 1}
    for outcome, count in outcomes.items():
        assert reader.figure("backend_calls_total", outcome=outcome) == count
    assert reader.figure("backend_call_duration_seconds_count") == len(calls)
    assert all(0 < called.timings["reader"] <= called.took for called in calls)
    assert reader.figure("backend_call_duration_seconds_sum") == pytest.approx(
        sum(called.timings["reader"] for called in calls)
    )
