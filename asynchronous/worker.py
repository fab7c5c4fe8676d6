"""The worker: claims jobs from the queue, as many as make a batch, predicts them in one inference, writes the results.

It may be killed at any moment: when its leases have expired, another worker claims its jobs.
"""

import asyncio
import logging
import socket
from functools import partial
from time import monotonic
from uuid import uuid4

from prometheus_client import CollectorRegistry, Counter, Gauge

from asynchronous.jobs import ClaimedJob, Outcome, describe_error
from asynchronous.queue import JobQueue
from asynchronous.settings import PredictorSettings
from common.jobs.heartbeat import renewing_leases
from common.jobs.job_predictor import JobPredictor
from common.telemetry.tracing import span_of

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""How often due retries and expired leases are collected; also the longest wait for new jobs."""
IDLE_LEASES = 10
"""A predictor that holds nothing and has been idle for so many leases is removed from the consumer group."""


class Worker:
    """Claims, predicts, completes: `tick` again and again."""

    def __init__(
        self, queue: JobQueue, jobs: JobPredictor, settings: PredictorSettings, registry: CollectorRegistry
    ) -> None:
        self._queue = queue
        self._jobs = jobs
        self._settings = settings
        self._consumer = f"{socket.gethostname()}-{uuid4()}"  # unique: the name says who holds an entry
        self._next_poll = 0.0
        self._attempts = Counter("jobs", "Attempts at jobs, by outcome.", ["outcome"], registry=registry)
        self._open_jobs = Gauge("jobs_open", "Jobs that have not ended.", registry=registry)

    async def tick(self) -> None:
        """Claim jobs, predict them as one batch, complete them."""
        if jobs := await self._claim():
            renew = partial(self._queue.renew_leases, self._consumer)
            async with renewing_leases(renew, [job.entry for job in jobs], self._settings.lease_seconds):
                outcomes = await asyncio.gather(*map(self._process, jobs))
                completed = await self._queue.complete_jobs(self._consumer, outcomes)
            self._report(outcomes, completed)

    async def _claim(self) -> list[ClaimedJob]:
        """Jobs of crashed predictors first: they have waited longest.

        They are claimed one at a time: if such a job crashed its predictor, it must not take others with it.
        """
        if monotonic() >= self._next_poll:
            lease_ms = int(self._settings.lease_seconds * 1e3)
            await self._queue.open()
            self._open_jobs.set(await self._queue.enqueue_due_retries(self._consumer))
            await self._queue.remove_idle_consumers(IDLE_LEASES * lease_ms)
            if expired := await self._queue.claim_expired(self._consumer, 1, lease_ms):
                return expired
            self._next_poll = monotonic() + POLL_SECONDS
        count = min(self._settings.max_batch_rows, self._settings.max_queue_rows)
        return await self._queue.claim(self._consumer, count, int(POLL_SECONDS * 1e3))

    async def _process(self, job: ClaimedJob) -> Outcome:
        """Attempt a job; with RETRY=predictor again and again, until it is done or dead."""
        attempts = job.attempts
        if attempts > max(self._settings.max_attempts, 2):  # one crash may be the fault of another job of its batch
            return Outcome(job, "dead", f"the predictor ended during attempt {attempts - 1}, the last", attempts - 1)
        outcome = await self._attempt(job, attempts)
        while outcome.kind == "retry" and self._settings.retry == "predictor":
            await asyncio.sleep(outcome.retry_in)
            attempts += 1
            outcome = await self._attempt(job, attempts)
        return outcome

    async def _attempt(self, job: ClaimedJob, attempts: int) -> Outcome:
        """Predict. An error may come from the data or from the program, so attempts are limited."""
        try:
            prediction = await self._jobs.predict(job.payload, monotonic() + self._settings.job_timeout_seconds)
        except Exception as error:
            text = describe_error(error)
            if attempts >= self._settings.max_attempts:
                return Outcome(job, "dead", text, attempts)
            return Outcome(job, "retry", text, attempts, self._settings.backoff_seconds * 2 ** (attempts - 1))
        return Outcome(job, "done", prediction, attempts)

    def _report(self, outcomes: list[Outcome], completed: set[bytes]) -> None:
        for outcome in outcomes:
            kind = outcome.kind if outcome.job.entry in completed else "lost_lease"
            self._attempts.labels(kind).inc()
            with span_of(outcome.job.traceparent):
                logger.info("job %s: attempt %d: %s", outcome.job.job_id, outcome.attempts, kind)
