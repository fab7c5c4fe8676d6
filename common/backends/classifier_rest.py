"""A classifier that another service holds, asked over REST."""

from functools import partial

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from common.backends.backend import Backend, BackendError, Caller, Reason
from common.backends.classifier import Classification, checked
from common.backends.http_client import Answer, Client
from common.backends.infer_client import HEADER_LENGTH, read_response, write_request
from common.domain import digits
from common.service.server_timing import merge_timings

REASONS: dict[int, Reason] = {408: "timeout", 424: "refused", 429: "refused", 503: "refused", 504: "timeout"}
"""By status; any other is an error. 424: what it depends on is not there, which is not its own failure."""


class RestClassifier:
    """The model at `url` (`http://HOST:PORT/v2/models/NAME`), which tells `classes` probabilities for each row."""

    def __init__(self, backend: Backend, client: Client, url: str, classes: int) -> None:
        self._backend = backend
        self._client = client
        self._classes = classes
        self._infer, self._ready = httpx.URL(f"{url}/infer"), httpx.URL(f"{url}/ready")

    async def classify(self, features: NDArray[np.float32], caller: Caller) -> Classification:
        """The probabilities for features of shape (n, m); raises `BackendError`."""
        body, headers = write_request(features, digits.INPUT, digits.OUTPUT)
        return await self.ask(self._infer, body, headers, caller, len(features))

    async def ask(
        self, url: httpx.URL, body: bytes, headers: dict[str, str], caller: Caller, rows: int | None = None
    ) -> Classification:
        """The same by another question to the same service; `rows`: how many are to come back (None: any number)."""
        return await self._backend.call(partial(self._ask, url, body, headers, caller, rows), caller)

    async def is_ready(self) -> bool:
        """Whether the model is there and can predict."""
        try:
            return (await self._client.get(self._ready)).status == 200
        except BackendError:
            return False

    async def _ask(
        self, url: httpx.URL, body: bytes, headers: dict[str, str], caller: Caller, rows: int | None, seconds: float
    ) -> Classification:
        answer = await self._client.post(url, body, headers, seconds)
        merge_timings(caller.timings, self._backend.name, answer.headers.get(b"server-timing", b"").decode("latin-1"))
        if answer.status != 200:
            raise _refusal(answer)
        try:
            length = answer.headers.get(HEADER_LENGTH.encode())
            values, model, version = read_response(answer.body, length, digits.OUTPUT)
        except ValueError as error:
            raise BackendError("error", f"it answered rubbish: {error}"[:200], again=True) from None
        return Classification(checked(values, self._classes, rows), model, version)


def _refusal(answer: Answer) -> BackendError:
    """What an answer that is no success means; one that says when to come back is not asked again before."""
    reason = REASONS.get(answer.status, "error")
    again = answer.status in (502, 503) and b"retry-after" not in answer.headers
    return BackendError(reason, f"it answered {answer.status}", again, answer.status, _detail(answer.body))


def _detail(body: bytes) -> str:
    """What it says of it, where it says so in a way that we know."""
    try:
        document = from_json(body)
        return str(document.get("error") or document["detail"])[:200]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
