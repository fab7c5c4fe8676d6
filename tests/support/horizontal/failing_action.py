"""A post-processor whose next action fails: for a zero always, for a one the first time."""

from fastapi import FastAPI

from common.domain import Output as Digit
from microservice_horizontal import postprocessor
from microservice_horizontal.jobs.next_action import begin_next_action

ALWAYS, ONCE = 0, 1


def create_app() -> FastAPI:
    """`uvicorn tests.support.horizontal.failing_action:create_app --factory`"""
    tried: set[str] = set()

    async def fail_or_begin(job_id: str, digit: Digit) -> str:
        if digit.digit == ALWAYS or (digit.digit == ONCE and job_id not in tried):
            tried.add(job_id)
            raise ConnectionError("the tray is stuck")  # as if Redis were away
        return await begin_next_action(job_id, digit)

    return postprocessor.create_app(next_action=fail_or_begin)
