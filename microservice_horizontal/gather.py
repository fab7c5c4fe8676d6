"""The policies: for whom the proxy waits, and when it has heard enough. Each is a timeline in the README.

All members are asked at the same time, and each call ends by the caller's deadline, whatever its member does.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import NamedTuple

from common.backends.classifier import Classification
from common.backends.errors import BackendError
from common.service.problems import Problem
from microservice_horizontal.settings import Policy
from microservice_horizontal.voting import agreed

NOT_AWAITED = "not awaited"
"""Why a member's answer is missing where enough others had answered."""


class Heard(NamedTuple):
    """The answers by member, and the failures of those that gave none; who is in neither was not awaited."""

    answers: dict[str, Classification]
    failures: dict[str, BackendError]


async def hear(asked: Mapping[str, Awaitable[Classification]], policy: Policy, quorum: int) -> Heard:
    """Ask all at once, and wait for as many as the policy says.

    Raises `Problem`: under `wait`, a missing member's own (502, 503, 504); under the others 503, if too few answer.
    """
    tasks = {asyncio.ensure_future(answer): member for member, answer in asked.items()}
    heard = Heard({}, {})
    try:
        waiting = set(tasks)
        while waiting and not _is_enough(heard, policy, quorum):
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                _note(heard, tasks[task], task)
    finally:
        for task in tasks:
            task.cancel()
    _check(heard, policy, quorum, len(tasks))
    return heard


def _is_enough(heard: Heard, policy: Policy, quorum: int) -> bool:
    match policy:
        case "first":
            return bool(heard.answers)
        case "quorum":
            return agreed({member: answer.probabilities[0] for member, answer in heard.answers.items()}, quorum)
        case "deadline" | "wait":
            return False


def _note(heard: Heard, member: str, task: asyncio.Future[Classification]) -> None:
    try:
        heard.answers[member] = task.result()
    except BackendError as error:
        heard.failures[member] = error


def _check(heard: Heard, policy: Policy, quorum: int, members: int) -> None:
    if policy == "wait" and heard.failures:
        raise next(iter(heard.failures.values())).problem()
    least = 1 if policy == "first" else quorum
    if len(heard.answers) < least:
        reasons = "; ".join(str(error) for error in heard.failures.values())
        detail = f"{len(heard.answers)} of {members} models answered, expected at least {least}: {reasons}"
        raise Problem(503, detail, {"Retry-After": "1"})
