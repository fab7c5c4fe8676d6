"""The predictor: each member is this one service with another model. It is asked directly, and reads jobs beside that.

It fails alone: a member that is gone costs the others nothing. What it had begun another process of it takes over, and
an answer that is given twice is kept once.
"""

import asyncio
import logging
import socket
from functools import partial
from time import monotonic
from uuid import uuid4

from fastapi import FastAPI
from pydantic_core import to_json

from common.inference.predictor import Predictor, load_model
from common.jobs.heartbeat import renewing_leases
from common.jobs.job_predictor import JobPredictor
from common.jobs.redis_connection import REDIS_UNAVAILABLE, connect
from common.open_inference.rest import add_open_inference
from common.prediction.domain_model import require_domain
from common.prediction.predict_endpoint import predict_router
from common.service.background import add_background_loop
from common.service.problems import Problem
from common.service.service import Service
from common.service.tracing import span_of
from common.store.image_store import ImageStore
from common.store.retrieve_endpoint import retrieve_router
from microservice_horizontal.jobs.stream import Entry, JobStream
from microservice_horizontal.settings import PredictorSettings

logger = logging.getLogger(__name__)

ROUND_MS = 500
"""The longest wait for new jobs; then those of the dead are looked for."""


def create_app(settings: PredictorSettings | None = None) -> FastAPI:
    """The predictor: `uvicorn microservice_horizontal.predictor:create_app --factory`."""
    settings = settings or PredictorSettings.from_environment()
    model = load_model(settings)
    require_domain(model)
    app = Service(f"microservice_horizontal-{model.name}", settings)
    predictor = Predictor(model, settings, app.metrics)
    store = ImageStore(app, "microservice_horizontal", settings)
    app.include_router(predict_router(predictor, settings))
    app.include_router(retrieve_router(predictor, store, "first"))
    add_open_inference(app, predictor)

    jobs = JobStream(connect(app, settings.redis_url), settings.job_ttl_seconds)
    worker = Worker(model.name, JobPredictor(predictor), jobs, settings)
    add_background_loop(app, worker.work, "jobs", unavailable=REDIS_UNAVAILABLE)
    return app


class Worker:
    """Reads jobs for its member, has them predicted as one batch, keeps the answers."""

    def __init__(self, member: str, reader: JobPredictor, jobs: JobStream, settings: PredictorSettings) -> None:
        self._member = member
        self._reader = reader
        self._jobs = jobs
        self._settings = settings
        self._consumer = f"{socket.gethostname()}-{uuid4()}"

    async def work(self) -> None:
        """One round: what dead processes have left, one by one, then what is new."""
        lease_ms = int(self._settings.lease_seconds * 1e3)
        while left := await self._jobs.take_over(self._member, self._consumer, lease_ms):
            await self._answer(left)
        count = self._settings.max_batch_rows
        await self._answer(await self._jobs.read(self._member, self._consumer, count, ROUND_MS))

    async def _answer(self, jobs: list[Entry]) -> None:
        if jobs:
            renew = partial(self._jobs.renew_leases, self._member, self._consumer)
            async with renewing_leases(renew, [job.entry for job in jobs], self._settings.lease_seconds):
                said = zip(jobs, await asyncio.gather(*[self._read(job) for job in jobs]), strict=True)
                answers = {job: answer for job, answer in said if answer is not None}
                await self._jobs.answer(self._member, answers)
            for job in answers:
                with span_of(job.traceparent):
                    logger.info("job %s: answered", job.job_id)

    async def _read(self, job: Entry) -> bytes | None:
        """The digit in JSON, or the error: of the data or the program, so it would come again.

        None where this process had no time for it, which is no fault of the job: it is left to who takes it over.
        """
        if job.attempts > self._settings.max_attempts:
            return to_json({"error": f"{job.attempts - 1} processes ended while they worked on it"})
        deadline = monotonic() + self._settings.job_ttl_seconds  # nobody can ask for it any longer
        try:
            return await self._reader.predict(job.payload, deadline)
        except Exception as error:
            if isinstance(error, Problem) and error.status_code in (503, 504):
                return None
            return to_json({"error": f"{type(error).__name__}: {error}"})
