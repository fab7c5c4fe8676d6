"""A job on its way between the proxy, the queue and the worker."""

from typing import Literal, NamedTuple

from common.service.problems import Problem


class NewJob(NamedTuple):
    """What the proxy submits; `digest` identifies the request's content, for its Idempotency-Key."""

    payload: bytes
    ordering_key: str = ""
    idempotency_key: str = ""
    digest: str = ""
    callback_url: str = ""
    traceparent: str = ""


class ClaimedJob(NamedTuple):
    """A job that a predictor holds, by its entry in the stream; `attempts` includes the one that now starts."""

    entry: bytes
    job_id: str
    attempts: int
    payload: bytes
    traceparent: bytes


class Outcome(NamedTuple):
    """How an attempt ended: done with a prediction (JSON), or with an error: retry in so many seconds, or dead."""

    job: ClaimedJob
    kind: Literal["done", "retry", "dead"]
    content: bytes | str
    attempts: int
    retry_in: float = 0.0


class QueueFull(Exception):
    """The maximum number of open jobs is reached."""


class IdempotencyConflict(Exception):
    """This Idempotency-Key came before, with another body."""


def describe_error(error: Exception) -> bytes:
    """Why an attempt failed, as its job's clients read it; a `Problem` without its status, which no client received."""
    text = str(error.detail) if isinstance(error, Problem) else f"{type(error).__name__}: {error}"
    return text.encode(errors="replace")
