"""The same, with one `ordering_key` for all jobs: each waits for the one before it."""

from uuid import uuid4

from asynchronous.jobs import NewJob
from benchmarks.queues.ours_queue import WORKER, Client, connect, result

__all__ = ["WORKER", "connect", "result", "submit"]


async def submit(client: Client, payload: bytes) -> str:
    """Hand one in."""
    return await client.queue.submit(str(uuid4()), NewJob(payload, "one"), 1_000_000)
