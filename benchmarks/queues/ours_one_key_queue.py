"""The same, with one `ordering_key` for all jobs: each waits for the one before it."""

from uuid import uuid4

from benchmarks.queues.ours_queue import WORKER, Client, connect, result

__all__ = ["WORKER", "connect", "result", "submit"]


async def submit(client: Client, payload: bytes) -> str:
    """Hand one in."""
    return await client.queue.submit(str(uuid4()), payload, max_open_jobs=1_000_000, ordering_key="one")
