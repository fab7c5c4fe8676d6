"""The post-processor: it manages the lag between the answers to a job.

As soon as the chosen member has answered, it begins the next action. It closes a job as soon as enough members agree,
all have answered, or the job's deadline has passed; a later answer changes nothing. It may be killed at any moment:
another one claims the answers that it held. If the next action fails for a job, its answers are claimed again, and no
other job waits for that.
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

from common.jobs.redis_check import RedisCheck
from common.jobs.redis_connection import REDIS_UNAVAILABLE, connect
from common.service.background import add_background_loop
from common.service.service import Service
from microservice_horizontal.jobs.next_action import NextAction, begin_next_action
from microservice_horizontal.jobs.schemas import Answers, Early, to_answers, to_missing, to_time
from microservice_horizontal.jobs.stream import EVENTS, JobStream
from microservice_horizontal.schemas import aggregate_digits
from microservice_horizontal.settings import PostProcessorSettings
from microservice_horizontal.voting import has_quorum

logger = logging.getLogger(__name__)

POLL_MS = 100
"""The longest wait for answers; then deadlines are checked."""
MAX_ANSWERS = 100
LEASE_MS = 2_000
"""Another post-processor claims an answer that was not processed for so long."""


def create_app(
    settings: PostProcessorSettings | None = None, *, next_action: NextAction = begin_next_action
) -> FastAPI:
    """The post-processor: `uvicorn microservice_horizontal.postprocessor:create_app --factory`.

    Tests pass another next action.
    """
    settings = settings or PostProcessorSettings.from_environment()
    app = Service("microservice_horizontal-postprocessor", settings)
    redis = connect(app, settings.redis_url)
    post_processor = PostProcessor(JobStream(redis, settings.job_ttl_seconds), next_action, settings)
    RedisCheck(app, redis, "microservice_horizontal", EVENTS)
    add_background_loop(app, post_processor.tick, "answers", unavailable=REDIS_UNAVAILABLE)
    return app


class ActionFailed(Exception):
    """The next action raised an exception."""


class PostProcessor:
    """Processes answers and enforces deadlines: `tick` again and again."""

    def __init__(self, jobs: JobStream, next_action: NextAction, settings: PostProcessorSettings) -> None:
        self._jobs = jobs
        self._begin_next_action = next_action
        self._settings = settings
        self._consumer = f"{socket.gethostname()}-{uuid4()}"  # unique: the name says which process holds an answer

    async def tick(self) -> None:
        """Process new answers, then close the jobs whose deadline has passed."""
        processed, answered_jobs = [], []
        for answer in await self._jobs.claim_answers(self._consumer, MAX_ANSWERS, POLL_MS, LEASE_MS):
            with _log_failure(answer.job_id):
                if entry := await self._process_answers(answer.job_id):
                    answered_jobs.append(entry)
                processed.append(answer)
        if processed:
            await self._jobs.acknowledge(processed, answered_jobs)
        await self._jobs.remove_expired()
        for job_id in await self._jobs.list_overdue():
            with _log_failure(job_id):
                await self._close_overdue(job_id)

    async def _process_answers(self, job_id: str) -> bytes | None:
        """Do what the answers so far allow. Returns the job's entry if all members have answered: none needs it."""
        fields = await self._jobs.get(job_id)
        answers = to_answers(fields, self._settings.names)
        if fields.get(b"status") == b"running":
            await self._begin_early(job_id, fields, answers)
            if self._is_enough(answers):
                await self._close(job_id, answers, "late")
        return fields.get(b"entry") if len(answers) == len(self._settings.names) else None

    async def _close_overdue(self, job_id: str) -> None:
        """Close the job with the answers that there are, even if the next action fails."""
        fields = await self._jobs.get(job_id)
        answers = to_answers(fields, self._settings.names)
        with _log_failure(job_id):
            await self._begin_early(job_id, fields, answers)
        await self._close(job_id, answers, "timeout")

    async def _begin_early(self, job_id: str, fields: Mapping[bytes, bytes], answers: Answers) -> None:
        """Begin the next action, once, if the chosen member has answered; raises `ActionFailed`."""
        digit = answers.predictions.get(self._settings.early_model)
        if digit is None or b"early" in fields:
            return
        try:
            action = await self._begin_next_action(job_id, digit)
        except Exception as error:  # of any type: a ConnectionError of the action is not one of Redis
            raise ActionFailed("the next action failed") from error
        early = Early(model=self._settings.early_model, digit=digit.digit, action=action, at=to_time(time()))
        await self._jobs.record_action(job_id, early.model_dump_json().encode())

    def _is_enough(self, answers: Answers) -> bool:
        votes = {name: np.array(digit.probabilities, np.float32) for name, digit in answers.predictions.items()}
        return len(answers) == len(self._settings.names) or has_quorum(votes, self._settings.quorum)

    async def _close(self, job_id: str, answers: Answers, reason: str) -> None:
        """Aggregate the answers; the job has failed if they are fewer than QUORUM."""
        names, least = self._settings.names, self._settings.quorum
        missing = to_json(to_missing(answers, names, reason))
        if len(answers.predictions) < least:
            error = f"{len(answers.predictions)} of {len(names)} models answered in time, expected at least {least}"
            await self._jobs.close(job_id, {"status": "failed", "error": error, "missing": missing})
            return
        digit = aggregate_digits(answers.predictions, self._settings.aggregation, self._settings.weights)
        fields: dict[str, bytes | str] = {"status": "done", "missing": missing}
        if digit:
            fields["prediction"] = digit.model_dump_json().encode()
        await self._jobs.close(job_id, fields)


@contextmanager
def _log_failure(job_id: str) -> Iterator[None]:
    """Log an exception of this block, so that other jobs go on. One of Redis is raised: it stops all jobs."""
    try:
        yield
    except REDIS_UNAVAILABLE:
        raise
    except Exception as error:
        logger.exception("job %s: %s", job_id, error)
