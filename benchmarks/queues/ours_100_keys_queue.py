"""The same, with one of a hundred values as `ordering_key`."""

from uuid import uuid4

from asynchronous.jobs import NewJob
from benchmarks.queues.ours_queue import WORKER, Client, connect, result

__all__ = ["WORKER", "connect", "result", "submit"]


async def submit(client: Client, payload: bytes) -> str:
    """Hand one in."""
    return await client.queue.submit(str(uuid4()), NewJob(payload, str(payload[0] % 100)), 1_000_000)
