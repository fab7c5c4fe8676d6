"""The one HTTP client of a process: a pool of connections to all services that it calls.

It is bare aiohttp. With 16 requests at once, an httpx request over aiohttp's transport costs 1.5 times the CPU, httpx's
own transport nine times (benchmarks/README.md). Redirects, cookies and decompression have no place between services.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
from yarl import URL

from common.backends.errors import BackendError
from common.service.service import Service
from common.telemetry.tracing import current_trace

MAX_RESPONSE_BYTES = 16 * 2**20
"""A longer response is an error."""
IDLE_SECONDS = 4.0
"""Less than uvicorn's time (UVICORN_TIMEOUT_KEEP_ALIVE, or else 5 s), or it might close one that we reuse."""
DNS_SECONDS = 1
"""How long a resolved address is cached: shorter than a replaced service goes on answering (DRAIN_SECONDS)."""
OMITTED_HEADERS = ("Accept", "Accept-Encoding", "User-Agent")
"""Headers that aiohttp would add."""
CONNECTION_ERRORS = (aiohttp.ClientError, OSError, ValueError)
"""Errors of a connection, or of a response that is not HTTP."""


class HttpResponse(NamedTuple):
    """A backend's whole response; the names of `headers` are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Sends requests over connections that are kept open; closes them when the app ends.

    No request waits for a connection, so a backend that hangs takes nothing from the others. The number of connections
    is bounded by MAX_CONCURRENT_REQUESTS times the backends that one request calls at once.
    """

    def __init__(self, app: Service) -> None:
        app.add_lifespan(self._open)

    async def post(self, url: URL | str, body: bytes, headers: Mapping[str, str], seconds: float) -> HttpResponse:
        """The response; `seconds` is the backend's timeout, which is sent to it as X-Request-Timeout-Ms.

        Raises `BackendError`: refused (no connection), error (the connection broke, or the response is not HTTP).
        """
        headers = {**headers, "x-request-timeout-ms": str(int(seconds * 1e3))}
        if trace := current_trace.get():
            headers["traceparent"] = trace.traceparent
        return await self._send("POST", url, headers, body)

    async def get(self, url: URL | str) -> HttpResponse:
        """The response; raises as `post` does."""
        return await self._send("GET", url)

    async def _send(
        self, method: str, url: URL | str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> HttpResponse:
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return HttpResponse(response.status, response.headers, await _read_body(response))
        except aiohttp.ClientConnectorError as error:
            raise BackendError("refused", "no connection", retryable=True, cause=_one_line(error)) from None
        except CONNECTION_ERRORS as error:
            raise BackendError("error", "the connection broke", retryable=True, cause=_one_line(error)) from None

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=DNS_SECONDS, keepalive_timeout=IDLE_SECONDS)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # none: `Backend` enforces the deadline
            auto_decompress=False,
            skip_auto_headers=OMITTED_HEADERS,
        ) as self._session:
            yield


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    body = await response.content.readany()
    if response.content.at_eof():
        return body  # the usual case: no copy
    parts, size = [body], len(body)
    while part := await response.content.readany():
        parts.append(part)
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            raise BackendError("error", f"it answered more than {MAX_RESPONSE_BYTES} bytes")
    return b"".join(parts)


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
