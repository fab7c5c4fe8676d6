"""A call to another service that gave no usable answer: why, whether a retry may help, and what our client gets."""

from typing import Literal

from common.service.problems import Problem

Reason = Literal["timeout", "refused", "error", "breaker open"]

STATUS: dict[Reason, int] = {"timeout": 504, "refused": 503, "error": 502, "breaker open": 503}
OVERLOAD = (408, 429)
"""The 4xx statuses that describe the backend, not the request."""


class BackendError(Exception):
    """A backend gave no usable answer.

    `retryable`: a second call is safe and may help. `status` is the HTTP status of the backend's answer, if there was
    one. `cause` is only for the log: it may name hosts. `backend` is the backend's name in this process.
    """

    def __init__(
        self, reason: Reason, detail: str, retryable: bool = False, status: int | None = None, cause: str = ""
    ) -> None:
        super().__init__(detail)
        self.cause = cause
        self.reason: Reason = reason
        self.retryable = retryable
        self.status = status
        self.backend = ""

    def __str__(self) -> str:
        return f"{self.backend}: {self.reason} ({self.args[0]})"

    @property
    def is_client_error(self) -> bool:
        """Whether the backend is healthy and rejected this request."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in OVERLOAD

    def problem(self) -> Problem:
        """What our client gets if there is no fallback: 502, 503 or 504, and the backend's name."""
        status = STATUS[self.reason]
        headers = {"Retry-After": "1"} if status == 503 else None
        return Problem(status, str(self), headers, backend=self.backend, reason=self.reason)
