"""The policies: which members the proxy waits for, and when it has enough votes. Each is a timeline in the README.

All members are called at the same time. Each call ends by the caller's deadline, whatever its member does.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import NamedTuple

from common.backends.classifier import Classification
from common.backends.errors import BackendError
from common.service.problems import Problem
from microservice_horizontal.settings import Policy
from microservice_horizontal.voting import has_quorum

NOT_AWAITED = "not awaited"
"""Why a vote is missing if enough other members had voted."""


class VotingResult(NamedTuple):
    """The votes and the failures, by member. A member in neither was not awaited."""

    votes: dict[str, Classification]
    failures: dict[str, BackendError]


async def gather(calls: Mapping[str, Awaitable[Classification]], policy: Policy, quorum: int) -> VotingResult:
    """Make these calls, by member, at the same time, and wait for as many as the policy says. Cancels the others.

    Raises `Problem`: under `wait` that of the first failure (502, 503, 504), else 503 if there are too few votes.
    """
    members = {asyncio.ensure_future(call): member for member, call in calls.items()}
    result = VotingResult({}, {})
    try:
        pending = set(members)
        while pending and not _is_enough(result, policy, quorum):
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                _record(result, members[task], task)
    finally:
        for task in members:
            task.cancel()
    _require_enough(result, policy, quorum, len(members))
    return result


def _is_enough(result: VotingResult, policy: Policy, quorum: int) -> bool:
    match policy:
        case "first":
            return bool(result.votes)
        case "quorum":
            return has_quorum({member: vote.probabilities[0] for member, vote in result.votes.items()}, quorum)
        case "deadline" | "wait":
            return False


def _record(result: VotingResult, member: str, task: asyncio.Future[Classification]) -> None:
    try:
        result.votes[member] = task.result()
    except BackendError as error:
        result.failures[member] = error


def _require_enough(result: VotingResult, policy: Policy, quorum: int, members: int) -> None:
    if policy == "wait" and result.failures:
        raise next(iter(result.failures.values())).problem()
    least = 1 if policy == "first" else quorum
    if len(result.votes) < least:
        reasons = "; ".join(str(error) for error in result.failures.values())
        detail = f"{len(result.votes)} of {members} models answered, expected at least {least}: {reasons}"
        raise Problem(503, detail, {"Retry-After": "1"})
