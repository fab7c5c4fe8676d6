"""The predictor: a service that holds the model, and works the queue off beside its endpoints.

It claims jobs, as many as make a batch, has them predicted in one inference, and settles them in one step. It may end
at any moment: what it held is claimed by another once its lease is over.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic, time
from uuid import uuid4

from fastapi import FastAPI

from asynchronous.queue import Broker, Claimed, Kind, Outcome
from asynchronous.schemas import job_outcomes
from asynchronous.settings import PredictorSettings
from asynchronous.triggers import CacheTrigger, PubSubTrigger
from common.inference.predictor import Predictor, load_model
from common.jobs.job_predictor import JobReader
from common.jobs.redis_connection import AWAY, answers, connect
from common.open_inference.rest import add_open_inference
from common.prediction.predict_endpoint import predict_router
from common.service.background import repeat
from common.service.service import Service
from common.service.tracing import span_of

logger = logging.getLogger(__name__)

ROUND_SECONDS = 0.5
"""The longest wait for new jobs; then those of the dead and those to be retried are looked for."""
BEATS_PER_LEASE = 4


def create_app(
    settings: PredictorSettings | None = None,
    *,
    job_queue: type[Broker] = Broker,
    job_predictor: type[JobReader] = JobReader,
) -> FastAPI:
    """The predictor: `uvicorn asynchronous.predictor:create_app --factory`. Tests pass other collaborators."""
    settings = settings or PredictorSettings.from_environment()
    model = load_model(settings)
    app = Service("asynchronous-predictor", settings)
    predictor = Predictor(model, settings, app.metrics)
    app.include_router(predict_router(predictor, settings))
    add_open_inference(app, predictor)

    redis = connect(app, settings.redis_url)
    app.add_check(lambda: answers(redis))
    reader = job_predictor(predictor)
    if not reader.fits:
        logger.warning("the model %s reads no digits: it is served under /v2, and no job is begun", model.name)
    elif settings.trigger == "queue":
        Worker(app, job_queue(redis, settings.job_ttl_seconds, settings.result_ttl_seconds), reader, settings)
    else:
        trigger = CacheTrigger if settings.trigger == "cache" else PubSubTrigger
        trigger(redis, settings.job_ttl_seconds, settings.result_ttl_seconds).work(app, reader.read, settings)
    return app


class Worker:
    """Claims, predicts, settles, over and over, while the app runs and does not drain."""

    def __init__(self, app: Service, broker: Broker, reader: JobReader, settings: PredictorSettings) -> None:
        self._broker = broker
        self._reader = reader
        self._settings = settings
        self._name = f"{socket.gethostname()}-{uuid4()}"  # unlike any before it: who holds what is told by the name
        self._held: set[bytes] = set()
        self._retries: set[asyncio.Task[None]] = set()
        self._next_look = 0.0
        self._outcomes, self._open = job_outcomes(app.metrics.registry)
        app.add_lifespan(self._beating)  # until the work is over, which ends first
        repeat(app, self.work, "jobs")

    async def work(self) -> None:
        """The lesson: claim, predict as one batch, settle."""
        try:
            if monotonic() >= self._next_look and await self._look_after_others():
                return  # there may be more of them, and they have waited for longest
            count = min(self._settings.max_batch_rows, self._settings.max_queue_rows - len(self._held))
            if count > 0:
                await self._do(await self._broker.claim(self._name, count, int(ROUND_SECONDS * 1e3)))
            else:
                await asyncio.sleep(ROUND_SECONDS)  # all that may be held here waits for a retry
        except BaseException:
            self._held.clear()  # another predictor will claim it
            raise

    async def _look_after_others(self) -> bool:
        """Release what is due for a retry, and do a job of a predictor that is no more; whether there was one.

        One alone: should it be what ended its predictor, no other shall end with it.
        """
        await self._broker.open()
        self._open.set(await self._broker.release_due())
        await self._broker.forget_dead(int(self._settings.lease_seconds * 10e3))
        jobs = await self._broker.recover(self._name, 1, int(self._settings.lease_seconds * 1e3))
        await self._do(jobs)
        self._next_look = 0.0 if jobs else monotonic() + ROUND_SECONDS
        return bool(jobs)

    async def _do(self, jobs: list[Claimed]) -> None:
        self._held.update([job.entry for job in jobs])
        outcomes = await asyncio.gather(*[self._attempt(job, job.attempts) for job in jobs])
        later = [o for o in outcomes if o.kind == "retry"] if self._settings.retry == "predictor" else []
        for outcome in later:
            task = asyncio.create_task(self._retry_here(outcome))
            self._retries.add(task)
            task.add_done_callback(self._retries.discard)
        await self._settle([outcome for outcome in outcomes if outcome not in later])

    async def _attempt(self, job: Claimed, attempts: int) -> Outcome:
        """Predict; an error may be the data's or the program's, so the attempts are counted."""
        if attempts > max(self._settings.max_attempts, 2):  # it may have been another job of its batch, so once alone
            error = f"{attempts - 1} predictors ended while they worked on it"
            return Outcome(job, "dead", error, attempts - 1)
        try:
            prediction = await self._reader.read(job.payload, monotonic() + self._settings.job_timeout_seconds)
        except Exception as error:
            kind: Kind = "retry" if attempts < self._settings.max_attempts else "dead"
            pause = self._settings.backoff_seconds * 2 ** (attempts - 1)
            return Outcome(job, kind, f"{type(error).__name__}: {error}", attempts, time() + pause)
        return Outcome(job, "done", prediction, attempts)

    async def _retry_here(self, outcome: Outcome) -> None:
        """RETRY=predictor: go on with a job that we hold, until it is done or dead."""
        while outcome.kind == "retry":
            await asyncio.sleep(max(0.0, outcome.retry_at - time()))
            outcome = await self._attempt(outcome.job, outcome.attempts + 1)
        try:
            await self._settle([outcome])
        except AWAY as error:
            logger.warning("the result of job %s could not be written: %s", outcome.job.job_id, error)

    async def _settle(self, outcomes: list[Outcome]) -> None:
        try:
            settled = await self._broker.settle(self._name, outcomes)
        finally:
            self._held.difference_update([outcome.job.entry for outcome in outcomes])
        for outcome in outcomes:
            kind = outcome.kind if outcome.job.entry in settled else "late"
            self._outcomes(kind)
            with span_of(outcome.job.traceparent):
                logger.info("job %s: attempt %d: %s", outcome.job.job_id, outcome.attempts, kind)

    @asynccontextmanager
    async def _beating(self) -> AsyncIterator[None]:
        heart = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            for task in (heart, *self._retries):  # what would have been retried here, another predictor claims
                task.cancel()
            await asyncio.wait([heart, *self._retries])

    async def _beat(self) -> None:
        """Renew the leases, so that a job may take longer than one."""
        while True:
            await asyncio.sleep(self._settings.lease_seconds / BEATS_PER_LEASE)
            try:
                self._held -= await self._broker.renew(self._name, list(self._held))
            except AWAY as error:
                logger.warning("leases were not renewed: %s", error)
