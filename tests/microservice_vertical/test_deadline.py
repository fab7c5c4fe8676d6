"""One deadline covers all stages, and a slow stage delays no request that does not need it (V6, V7)."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Timer
from typing import Any

import httpx
import pytest

from tests.support.processes import wait_until
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server
from tests.support.stack import Stack
from tests.support.vertical.letters import STAGES, names
from tests.support.vertical.services import ask_in_time, degraded, failed, hung, low_confidence_scan, well_again

pytestmark = pytest.mark.full

STAGE_SECONDS = 0.5


@contextmanager
def slow(stack: Stack) -> Iterator[None]:
    """Each stage takes its time, for the one request of this block."""
    with ExitStack() as exit_stack:
        for number, stage in enumerate(STAGES, 1):
            exit_stack.enter_context(hung(stack, stage))
            goes_on = partial(stack.servers[stage].process.send_signal, signal.SIGCONT)
            timer = Timer(number * STAGE_SECONDS, goes_on)
            exit_stack.callback(timer.cancel)
            timer.start()
        yield


def test_three_slow_stages_take_the_sum_of_their_times_within_the_deadline(stack: Stack) -> None:
    """V7: latency adds up, and the answer shows where it comes from."""
    scan = low_confidence_scan()  # takes a while, so before the stages' timers start
    with slow(stack):
        answer = ask_in_time(stack.front, scan, 10_000)
    stages = answer.json()["stages"]
    assert names(answer.json()) == STAGES
    assert all(stage["milliseconds"] > 0.5 * STAGE_SECONDS * 1e3 for stage in stages)
    (total,) = [entry for entry in answer.headers["server-timing"].split(", ") if entry.startswith("total;")]
    milliseconds = float(total.partition("dur=")[2])
    assert 0.9 * milliseconds < sum(stage["milliseconds"] for stage in stages) < milliseconds
    assert milliseconds > 2.5 * STAGE_SECONDS * 1e3


@pytest.mark.parametrize("turn", range(3), ids=STAGES)
def test_three_slow_stages_share_one_deadline(stack: Stack, turn: int) -> None:
    """The stage that runs when the deadline passes has failed: only the specialist is optional."""
    scan = low_confidence_scan()
    with slow(stack):
        answer = ask_in_time(stack.front, scan, int((turn + 0.6) * STAGE_SECONDS * 1e3))
    if STAGES[turn] == "specialist":
        degraded(answer.json(), "specialist")
    else:
        failed(answer, STAGES[turn], 504)
    well_again(stack.front)


def test_hung_specialist_is_waited_for_until_the_deadline_then_the_readers_answer_stands(stack: Stack) -> None:
    with hung(stack, "specialist"):
        answer = ask_in_time(stack.front, low_confidence_scan(), 500).json()
    degraded(answer, "specialist")
    assert "timeout" in answer["stages"][2]["error"]
    well_again(stack.front)


def test_hung_quality_is_a_504_by_the_deadline(stack: Stack) -> None:
    with hung(stack, "quality"):
        failed(ask_in_time(stack.front, SEVEN_JSON, 500), "quality", 504)
    well_again(stack.front)


def test_hung_specialist_delays_no_clear_picture_and_its_breaker_opens(stack: Stack) -> None:
    """V6: requests that need it wait beside the others; after a few of them, its breaker is open."""
    with hung(stack, "specialist"), ThreadPoolExecutor(12) as threads:
        waiting = [threads.submit(ask_in_time, stack.front, low_confidence_scan(), 1_500) for _ in range(12)]
        answers = [timed(stack.front, SEVEN_JSON) for _ in range(20)]
        assert not any(future.done() for future in waiting)
        assert all(answer["digit"] == 7 and seconds < 0.5 for answer, seconds in answers)
        for future in waiting:
            degraded(future.result().json(), "specialist")
        answer, seconds = timed(stack.front, low_confidence_scan())
        degraded(answer, "specialist")
        assert "breaker open" in answer["stages"][2]["error"]
        assert seconds < 0.5
    print(f"the breaker lets it back in after {well_again(stack.front):.2f} s")


def timed(proxy: Server, body: object) -> tuple[dict[str, Any], float]:
    """An answer, and its seconds."""
    began = time.monotonic()
    answer: dict[str, Any] = proxy.read(body).json()
    return answer, time.monotonic() - began


def test_client_disconnect_cancels_the_calls_of_all_stages(stack: Stack) -> None:
    """The proxy stops asking long before the deadline, and logs that no client got an answer."""
    trace = "5a" * 16
    with hung(stack, "specialist"):
        began = time.monotonic()
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{stack.front.url}/predict",
                json=low_confidence_scan(),
                headers={"X-Request-Timeout-Ms": "20000", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
                timeout=0.3,
            )
        (line,) = stack.front.logged(trace_id=trace)
        assert time.monotonic() - began < 5
    assert line["status"] == 499
    assert wait_until(lambda: stack.front.metric("backend_calls_total", backend="specialist", outcome="cancelled")) == 1
    well_again(stack.front)
