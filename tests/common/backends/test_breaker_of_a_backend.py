"""Which calls of `Backend` open its circuit breaker, and what an open one does. Nothing goes over a network."""

import asyncio
from time import monotonic

import pytest
from grpc import StatusCode

from common.backends.backend import BREAKER_MIN_TIMEOUT_SECONDS
from common.backends.classifier_grpc import OUTCOMES
from common.backends.errors import BackendError
from tests.support.scripted_backend import FAR, HANG, PERMANENT, RETRYABLE, Caller, Reader, ScriptedSend

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
