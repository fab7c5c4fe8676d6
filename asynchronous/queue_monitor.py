"""Measures the queue for the proxy: gauges for `/metrics`, and the number of predictors."""

import asyncio

from prometheus_client import CollectorRegistry, Gauge
from redis.asyncio import Redis

from asynchronous.queue import DEAD_LETTERS, PREDICTORS, STREAM

INTERVAL_SECONDS = 1.0
SILENT_SECONDS = 10.0
"""A predictor asks the queue twice a second, or renews its leases. One that has done neither for so long is dead."""


class QueueMonitor:
    """Measures the queue: call `tick` in a loop."""

    def __init__(self, redis: Redis, registry: CollectorRegistry) -> None:
        self._redis = redis
        self.predictors_alive = 0
        self._depth = Gauge("queue_depth", "Jobs in the queue, those in work included.", registry=registry)
        self._oldest = Gauge("oldest_job_seconds", "How long the oldest job has been in the queue.", registry=registry)
        self._dead_letters = Gauge("dead_letters", "Jobs that were given up.", registry=registry)
        self._predictors = Gauge("predictors_alive", "Predictors that ask the queue for jobs.", registry=registry)

    async def tick(self) -> None:
        """Measure once, then wait a second."""
        async with self._redis.pipeline(transaction=False) as commands:
            commands.time()
            commands.xlen(STREAM)
            commands.xrange(STREAM, count=1)
            commands.xlen(DEAD_LETTERS)
            commands.zrange(PREDICTORS, 0, -1, withscores=True)
            (seconds, microseconds), depth, oldest, dead_letters, predictors = await commands.execute()
        now = seconds + microseconds / 1e6
        self.predictors_alive = sum(now - latest < SILENT_SECONDS for _, latest in predictors)
        self._depth.set(depth)
        self._oldest.set(max(0.0, now - int(oldest[0][0].partition(b"-")[0]) / 1e3) if oldest else 0)
        self._dead_letters.set(dead_letters)
        self._predictors.set(self.predictors_alive)
        await asyncio.sleep(INTERVAL_SECONDS)
