"""The one HTTP client of a process: a pool of connections to all the services that it calls.

httpx is the interface, aiohttp sends: asked by 16 at once, httpx's own transport takes nine times as much CPU
(benchmarks/README.md). The transport is called directly, since redirects, cookies and authentication, which
`httpx.AsyncClient` adds for half as much again and more, have no place between these services.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from common.backends.backend import BackendError
from common.service.service import Service
from common.service.tracing import current_trace

MAX_ANSWER_BYTES = 16 * 2**20
"""A backend that answers more than this answers rubbish."""
IDLE_SECONDS = 4.0
"""Less than the 5 s after which uvicorn closes an idle connection: it shall not do so just when we use it again."""
DNS_SECONDS = 1
"""How long an address is taken for granted: less than a service that is replaced goes on answering (DRAIN_SECONDS)."""
NOT_SENT = ("Accept", "Accept-Encoding", "User-Agent")
"""Headers that aiohttp would add."""
BROKEN = (httpx.HTTPError, aiohttp.ClientError, OSError, ValueError)
"""What becomes of a connection, or of an answer that is no HTTP."""


class Answer(NamedTuple):
    """What a backend answered; the names of its headers in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Client:
    """Sends requests on connections that are kept; it ends with the app.

    No request waits for a connection, so a backend that hangs takes nothing from the others. How many there are is
    bounded all the same: by how many requests the app works on, and how many backends each of them asks at once.
    """

    def __init__(self, app: Service) -> None:
        self._ssl = ssl.create_default_context()
        self._transport = AiohttpTransport(verify=self._ssl, client=self._session)
        app.add_lifespan(self._open)

    async def post(self, url: httpx.URL, body: bytes, headers: Mapping[str, str], seconds: float) -> Answer:
        """The answer, whole; `seconds` is how long the backend may take, which it is told.

        Raises `BackendError`: refused (no connection), error (a broken one, or no HTTP).
        """
        headers = {**headers, "x-request-timeout-ms": str(int(seconds * 1e3))}
        if trace := current_trace.get():
            headers["traceparent"] = trace.traceparent
        return await self._send(httpx.Request("POST", url, headers=headers, content=body))

    async def get(self, url: httpx.URL) -> Answer:
        """The answer, whole; raises as `post` does."""
        return await self._send(httpx.Request("GET", url))

    async def _send(self, request: httpx.Request) -> Answer:
        try:
            response = await self._transport.handle_async_request(request)
            try:
                body = await _whole(response)
            finally:
                await response.aclose()
        except BROKEN as error:
            if isinstance(error.__cause__, aiohttp.ClientConnectorError):
                raise BackendError("refused", "no connection", again=True, cause=_line(error)) from None
            raise BackendError("error", "the connection broke", again=True, cause=_line(error)) from None
        headers = {name.lower(): value for name, value in response.headers.raw}
        return Answer(response.status_code, headers, body)

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0, ttl_dns_cache=DNS_SECONDS, keepalive_timeout=IDLE_SECONDS, ssl=self._ssl
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),
            skip_auto_headers=NOT_SENT,
        )

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with self._transport:
            yield


async def _whole(response: httpx.Response) -> bytes:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    body = bytearray()
    async for chunk in response.stream:
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise BackendError("error", f"it answered more than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
