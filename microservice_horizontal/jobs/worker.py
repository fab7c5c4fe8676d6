"""The worker of a member: claims jobs, as many as make a batch, predicts them in one inference, stores the answers.

It may be killed at any moment: when its leases have expired, another process of the same member claims its jobs.
"""

import asyncio
import logging
import socket
from functools import partial
from time import monotonic
from uuid import uuid4

from pydantic_core import to_json

from common.jobs.heartbeat import renewing_leases
from common.jobs.job_predictor import JobPredictor
from common.service.problems import Problem
from common.telemetry.tracing import span_of
from microservice_horizontal.jobs.stream import ClaimedJob, JobStream
from microservice_horizontal.settings import PredictorSettings

logger = logging.getLogger(__name__)

POLL_MS = 500
"""The longest wait for new jobs; then expired leases are collected."""


class Worker:
    """Claims, predicts, answers: `tick` again and again."""

    def __init__(self, member: str, predictor: JobPredictor, jobs: JobStream, settings: PredictorSettings) -> None:
        self._member = member
        self._predictor = predictor
        self._jobs = jobs
        self._settings = settings
        self._consumer = f"{socket.gethostname()}-{uuid4()}"  # unique: the name says which process holds an entry

    async def tick(self) -> None:
        """Answer jobs whose lease has expired, one at a time, then new jobs, as one batch.

        One at a time: if such a job crashed its process, it must not take others with it.
        """
        lease_ms = int(self._settings.lease_seconds * 1e3)
        while expired := await self._jobs.claim_expired(self._member, self._consumer, lease_ms):
            await self._answer(expired)
        count = self._settings.max_batch_rows
        await self._answer(await self._jobs.claim(self._member, self._consumer, count, POLL_MS))

    async def _answer(self, jobs: list[ClaimedJob]) -> None:
        if not jobs:
            return
        renew = partial(self._jobs.renew_leases, self._member, self._consumer)
        async with renewing_leases(renew, [job.entry for job in jobs], self._settings.lease_seconds):
            predictions = await asyncio.gather(*[self._predict(job) for job in jobs])
            answers = {job: answer for job, answer in zip(jobs, predictions, strict=True) if answer is not None}
            await self._jobs.store_answers(self._member, answers)
        for job in answers:
            with span_of(job.traceparent):
                logger.info("job %s: answered", job.job_id)

    async def _predict(self, job: ClaimedJob) -> bytes | None:
        """The digit in JSON, or the error: it comes from the data or the program, so a retry would not help.

        None if this process had no time for the job: that is no fault of the job, so the next claim repeats it.
        """
        if job.attempts > self._settings.max_attempts:
            return to_json({"error": f"{job.attempts - 1} processes ended while they worked on it"})
        deadline = monotonic() + self._settings.job_ttl_seconds  # by then the job has expired
        try:
            return await self._predictor.predict(job.payload, deadline)
        except Exception as error:
            if isinstance(error, Problem) and error.status_code in (503, 504):
                return None
            return to_json({"error": f"{type(error).__name__}: {error}"})
