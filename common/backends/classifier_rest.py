"""A classifier in another service, called over REST."""

from collections.abc import Sequence
from functools import partial

from pydantic_core import from_json
from yarl import URL

from common.backends.backend import Backend
from common.backends.classifier import Classification, Tensors, validate_outputs
from common.backends.errors import BackendError, Reason
from common.backends.http_client import HttpClient, HttpResponse
from common.backends.infer_client import HEADER_LENGTH, read_response, write_request
from common.service.deadline import Caller
from common.telemetry.server_timing import merge_timings

REASONS: dict[int, Reason] = {408: "timeout", 424: "refused", 429: "refused", 503: "refused", 504: "timeout"}
"""By status; any other is an error. 424: a dependency of the backend is down, not the backend's own failure."""


class RestClassifier:
    """Calls the model at `url` (`http://HOST:PORT/v2/models/NAME`) and returns its `outputs`.

    The first output must hold `classes` probabilities for each row. With 0, it may hold any finite numbers.
    """

    def __init__(self, backend: Backend, client: HttpClient, url: str, *, outputs: Sequence[str], classes: int) -> None:
        self._backend = backend
        self._client = client
        self._outputs = tuple(outputs)
        self._classes = classes
        self._infer_url, self._ready_url = URL(f"{url}/infer"), URL(f"{url}/ready")

    async def classify(self, inputs: Tensors, caller: Caller) -> Classification:
        """The outputs for inputs of n rows each; raises `BackendError`."""
        body, headers = write_request(inputs, self._outputs)
        return await self.send(self._infer_url, body, headers, caller, len(next(iter(inputs.values()))))

    async def send(
        self, url: URL | str, body: bytes, headers: dict[str, str], caller: Caller, rows: int | None = None
    ) -> Classification:
        """The same for any request to the same service; `rows` is how many it must answer (None: any number)."""
        return await self._backend.call(partial(self._send, url, body, headers, caller, rows), caller)

    async def is_ready(self) -> bool:
        """Whether the model is loaded and can predict."""
        try:
            return (await self._client.get(self._ready_url)).status == 200
        except BackendError:
            return False

    async def _send(
        self, url: URL | str, body: bytes, headers: dict[str, str], caller: Caller, rows: int | None, seconds: float
    ) -> Classification:
        response = await self._client.post(url, body, headers, seconds)
        merge_timings(caller.timings, self._backend.name, response.headers.get("server-timing", ""))
        if response.status != 200:
            raise _to_error(response)
        try:
            length = response.headers.get(HEADER_LENGTH)
            outputs, model, version = read_response(response.body, length, self._outputs)
            validate_outputs(outputs, self._classes, rows)
        except ValueError as error:
            raise BackendError("error", f"invalid answer: {error}"[:200], retryable=True) from None
        return Classification(outputs, model, version)


def _to_error(response: HttpResponse) -> BackendError:
    """The error for a status other than 200; not retryable if it says when to come back."""
    reason = REASONS.get(response.status, "error")
    retryable = response.status in (502, 503) and "retry-after" not in response.headers
    return BackendError(reason, f"it answered {response.status}", retryable, response.status, _detail(response.body))


def _detail(body: bytes) -> str:
    """The backend's own error message, if it has the form of the protocol or of a problem document."""
    try:
        document = from_json(body)
        return str(document.get("error") or document["detail"])[:200]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
