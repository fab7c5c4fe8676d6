"""The same, with one `ordering_key` for all jobs: each waits for the one before it."""

from uuid import uuid4

from benchmarks.queues.ours_queue import WORKER, Client, connect, fields, result

__all__ = ["WORKER", "connect", "result", "submit"]


async def submit(client: Client, payload: bytes) -> str:
    """Hand one in."""
    return await client.broker.submit(str(uuid4()), fields(payload), most=1_000_000, ordering_key="one")
