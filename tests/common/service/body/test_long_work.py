"""Long bodies are read and written beside the event loop, one at a time."""

import asyncio
import threading
import time

from common.service.body.long_work import in_thread


def test_long_work_leaves_the_event_loop_to_others_and_is_done_one_at_a_time() -> None:
    running = most = 0

    def work() -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.05)
        running -= 1
        return threading.current_thread().name

    async def run_four() -> tuple[set[str], int]:
        tasks = [in_thread(work) for _ in range(4)]
        turns = 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0.001)
            turns += 1
        return {await task for task in tasks}, turns

    threads, turns = asyncio.run(run_four())
    assert threads == {"long-body_0"}
    assert most == 1
    assert turns > 20
