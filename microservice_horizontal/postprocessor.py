"""The post-processor: it manages the lag between the answers to a job.

As soon as the chosen member has answered, it begins the next action. As soon as enough members agree, or all have
answered, or the job's deadline is over, it closes the job with what there is; what comes later changes nothing. It may
be killed at any moment: the answers that it had in hand are told again. So are those to a job for which the action
failed, which holds up no other job.
"""

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import time
from uuid import uuid4

import numpy as np
from fastapi import FastAPI
from pydantic_core import to_json

from common.jobs.redis_connection import REDIS_UNAVAILABLE, connect, ping
from common.service.background import add_background_loop
from common.service.service import Service
from microservice_horizontal.jobs.next_action import begin_next_action
from microservice_horizontal.jobs.schemas import Answers, Early, to_answers, to_missing, to_time
from microservice_horizontal.jobs.stream import JobStream
from microservice_horizontal.schemas import verdict
from microservice_horizontal.settings import PostProcessorSettings
from microservice_horizontal.voting import agreed

logger = logging.getLogger(__name__)

ROUND_MS = 100
"""The longest wait for answers; then deadlines are looked at."""
AT_ONCE = 100
LEASE_MS = 2_000
"""What a post-processor has not dealt with for so long, another does."""


def create_app(settings: PostProcessorSettings | None = None) -> FastAPI:
    """The post-processor: `uvicorn microservice_horizontal.postprocessor:create_app --factory`."""
    settings = settings or PostProcessorSettings.from_environment()
    app = Service("microservice_horizontal-postprocessor", settings)
    redis = connect(app, settings.redis_url)
    post_processor = PostProcessor(JobStream(redis, settings.job_ttl_seconds), settings)
    app.add_check(lambda: ping(redis))
    add_background_loop(app, post_processor.work, "answers", unavailable=REDIS_UNAVAILABLE)
    return app


class ActionFailed(Exception):
    """The hook raised something."""


class PostProcessor:
    """Deals with answers, and with deadlines."""

    def __init__(self, jobs: JobStream, settings: PostProcessorSettings) -> None:
        self._jobs = jobs
        self._settings = settings
        self._consumer = f"{socket.gethostname()}-{uuid4()}"

    async def work(self) -> None:
        """One round."""
        dealt_with, finished = [], []
        for one in await self._jobs.told(self._consumer, AT_ONCE, ROUND_MS, LEASE_MS):
            with _failing_alone(one.job_id):
                if entry := await self._deal_with(one.job_id):
                    finished.append(entry)
                dealt_with.append(one)
        if dealt_with:
            await self._jobs.dealt_with(dealt_with, finished)
        await self._jobs.forget_old()
        for job_id in await self._jobs.overdue():
            with _failing_alone(job_id):
                await self._end(job_id)

    async def _deal_with(self, job_id: str) -> bytes | None:
        """What follows from the answers so far; gives the job's entry where all have answered: no member needs it."""
        fields = await self._jobs.get(job_id)
        answers = to_answers(fields, self._settings.names)
        if fields.get(b"status") == b"running":
            await self._begin_early(job_id, fields, answers)
            if self._is_enough(answers):
                await self._close(job_id, answers, "late")
        return fields.get(b"entry") if len(answers) == len(self._settings.names) else None

    async def _end(self, job_id: str) -> None:
        """The deadline is over, so the job is closed, even if the next action fails."""
        fields = await self._jobs.get(job_id)
        answers = to_answers(fields, self._settings.names)
        with _failing_alone(job_id):
            await self._begin_early(job_id, fields, answers)
        await self._close(job_id, answers, "timeout")

    async def _begin_early(self, job_id: str, fields: Mapping[bytes, bytes], answers: Answers) -> None:
        """If the chosen member has answered, go on with what needs no other, once; raises `ActionFailed`."""
        digit = answers.predictions.get(self._settings.early_model)
        if digit is None or b"early" in fields:
            return
        try:
            action = await begin_next_action(job_id, digit)
        except Exception as error:  # perhaps one that would be taken for Redis's own
            raise ActionFailed("the next action failed") from error
        early = Early(model=self._settings.early_model, digit=digit.digit, action=action, at=to_time(time()))
        await self._jobs.note_early(job_id, early.model_dump_json().encode())

    def _is_enough(self, answers: Answers) -> bool:
        votes = {name: np.array(digit.probabilities, np.float32) for name, digit in answers.predictions.items()}
        return len(answers) == len(self._settings.names) or agreed(votes, self._settings.quorum)

    async def _close(self, job_id: str, answers: Answers, reason: str) -> None:
        """Make one answer of those that there are; a failure where there are too few."""
        names, least = self._settings.names, self._settings.quorum
        missing = to_json(to_missing(answers, names, reason))
        if len(answers.predictions) < least:
            error = f"{len(answers.predictions)} of {len(names)} models answered in time, expected at least {least}"
            await self._jobs.close(job_id, {"status": "failed", "error": error, "missing": missing})
            return
        digit = verdict(answers.predictions, self._settings.aggregation, self._settings.weights)
        fields: dict[str, bytes | str] = {"status": "done", "missing": missing}
        if digit:
            fields["prediction"] = digit.model_dump_json().encode()
        await self._jobs.close(job_id, fields)


@contextmanager
def _failing_alone(job_id: str) -> Iterator[None]:
    """Whatever goes wrong in this block is told in the log, and the other jobs go on; but for Redis, who serves all."""
    try:
        yield
    except REDIS_UNAVAILABLE:
        raise
    except Exception as error:
        logger.exception("job %s: %s", job_id, error)
