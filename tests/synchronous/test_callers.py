"""S5: a caller that blocks its threads makes other work wait as long as the flow takes; one that awaits does not."""

import re
import signal
import sys

import pytest

from tests.support.processes import output_of
from tests.support.stack import synchronous_stack

DEADLINE_MS = 500


@pytest.mark.full
def test_other_work_waits_for_a_blocking_caller_but_not_for_an_async_one() -> None:
    with synchronous_stack(breaker_failures=1_000) as stack:
        stack.servers["predictor"].process.send_signal(signal.SIGSTOP)  # every letter takes the whole deadline
        command = (sys.executable, "-m", "synchronous.callers", "--letters=16", "--at-once=4")
        table = output_of(*command, f"--timeout-ms={DEADLINE_MS}", stack.front.url)
        stack.servers["predictor"].process.send_signal(signal.SIGCONT)
    blocking, awaiting = (longest_wait_ms(table, caller) for caller in ("blocking", "awaiting"))
    assert blocking > 0.9 * DEADLINE_MS
    assert awaiting < 0.8 * DEADLINE_MS


def longest_wait_ms(table: str, caller: str) -> float:
    """The last figure of a caller's line, all of whose letters must have been degraded."""
    line = next(line for line in table.splitlines() if line.startswith(caller))
    assert line.split()[3] == "16", line
    found = re.search(r"([\d.]+) ms$", line)
    assert found, line
    return float(found[1])
