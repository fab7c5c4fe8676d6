"""A crowd of callers before a predictor that hangs: each is answered in time, and the proxy does not grow (S3)."""

import asyncio
from time import monotonic

import pytest

from tests.support.http.raw_http import raw_post
from tests.support.processes import wait_until
from tests.support.samples import SEVEN_PIXELS
from tests.support.service_process import Server
from tests.support.stack import synchronous_stack
from tests.support.synchronous_letters import BACK_SECONDS, SLACK_SECONDS, hung, is_read, sort_seven

CALLERS = 200
DEADLINE_MS = 1_000
GROWTH_MB = 30
WARM_UP = 5
LETTER = raw_post(
    "/letters", {"pixels": SEVEN_PIXELS}, **{"X-Request-Timeout-Ms": str(DEADLINE_MS), "Connection": "close"}
)


async def letters_at_once(port: int) -> list[tuple[bytes, float]]:
    """One letter from each caller, all at once: the whole answer, and the seconds until it was there."""
    all_here = asyncio.Barrier(CALLERS)

    async def letter() -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await all_here.wait()
        began = monotonic()
        writer.write(LETTER)
        answer = await reader.read()
        seconds = monotonic() - began
        writer.close()
        return answer, seconds

    return await asyncio.gather(*(letter() for _ in range(CALLERS)))


def send_letters_at_once(proxy: Server, bin_: str) -> float:
    """Every letter gets this bin, and in time; the proxy's memory afterwards."""
    answers = asyncio.run(letters_at_once(proxy.port))
    assert all(answer.startswith(b"HTTP/1.1 200 ") and f'"bin":"{bin_}"'.encode() in answer for answer, _ in answers)
    longest = max(seconds for _, seconds in answers)
    assert longest < DEADLINE_MS / 1e3 + 2 * SLACK_SECONDS  # the clients share the machine's CPUs with the services
    print(f"{bin_}: the longest wait was {longest * 1e3:.0f} ms; memory {proxy.memory_mb():.1f} MB")
    return proxy.memory_mb()


@pytest.mark.full
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_200_callers_of_a_hung_predictor_are_answered_in_time_and_memory_stays_flat(scheme: str) -> None:
    """With a breaker that never opens, so that all of them ask."""
    with synchronous_stack(scheme, breaker_failures=1_000_000) as stack:
        send_letters_at_once(stack.front, "7")
        before = send_letters_at_once(stack.front, "7")
        with hung(stack.servers["predictor"]):
            # Errors hold their tracebacks until the garbage collector runs: so memory is compared once it has.
            crowds = [send_letters_at_once(stack.front, "manual") for _ in range(WARM_UP + 4)]
        over = monotonic()
        wait_until(lambda: is_read(sort_seven(stack.front)), BACK_SECONDS)
        print(f"back {monotonic() - over:.2f} s after a crowd")
        send_letters_at_once(stack.front, "7")
    first, *others = crowds[WARM_UP:]
    assert max(crowds) < before + GROWTH_MB
    assert max(others) < first + GROWTH_MB / 3
