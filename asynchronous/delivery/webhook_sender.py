"""Sends webhooks to URLs that clients gave: signed, without redirects, and to no address inside the network."""

import asyncio
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import NamedTuple

import certifi
import httpx
from pydantic import SecretStr
from standardwebhooks import Webhook

from asynchronous.delivery.address_check import PrivateAddress, resolve_public_addresses
from common.service.problems import Problem

LOOKUP_SECONDS = 1.0
CONNECT_SECONDS = 1.0
"""How long an address may take to accept a connection while the host has another one."""


def trusted_certificates() -> ssl.SSLContext:
    """Those of the system or of SSL_CERT_FILE and SSL_CERT_DIR, for receivers with a CA of their own; and certifi's."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class WebhookMessage(NamedTuple):
    """What is sent and signed; `sent_at` in seconds since the epoch."""

    message_id: str
    sent_at: float
    body: bytes
    traceparent: str


class WebhookSender:
    """Checks URLs and sends; `allow_private` is for receivers inside the network, if all clients are trusted."""

    def __init__(self, secret: SecretStr | None, allow_private: bool) -> None:
        self._webhook = Webhook(secret.get_secret_value()) if secret else None
        self._allow_private = allow_private

    async def check(self, url: str, deadline: float) -> None:
        """Raise `Problem` 422 if webhooks to this URL will never be sent."""
        if self._webhook is None:
            raise Problem(422, "callback_url: not offered here, since no WEBHOOK_SECRET is set: leave it out")
        parts = httpx.URL(url)
        if parts.userinfo:
            raise Problem(422, "callback_url: expected no user name or password in it")
        try:
            async with asyncio.timeout(min(LOOKUP_SECONDS, deadline - monotonic())):
                await resolve_public_addresses(parts, self._allow_private)
        except PrivateAddress as error:
            raise Problem(422, f"callback_url: {error}") from None
        except UnicodeError:
            raise Problem(422, f"callback_url: expected a host, got {parts.host!r:.80}") from None
        except (OSError, TimeoutError):
            pass  # the name may resolve when the result is there

    async def post(self, client: httpx.AsyncClient, url: str, message: WebhookMessage) -> str | None:
        """Send once; None if the receiver took it (2xx), else why not. Only the status of the response is read."""
        try:
            status = await self._send(client, httpx.URL(url), message)
        except (PrivateAddress, OSError, UnicodeError, httpx.HTTPError) as error:
            return f"{type(error).__name__}: {error}"
        return None if 200 <= status < 300 else f"the receiver answered {status}"

    async def _send(self, client: httpx.AsyncClient, url: httpx.URL, message: WebhookMessage) -> int:
        """The status that comes from the first of the host's addresses that takes the connection."""
        headers = {"Host": url.netloc.decode("ascii"), "Content-Type": "application/json"}
        headers |= {"traceparent": message.traceparent} | self._sign(message)

        async def send(address: str, connect_seconds: float | None) -> int:
            request = client.stream(
                "POST",
                url.copy_with(host=address),
                content=message.body,
                headers=headers,
                timeout=httpx.Timeout(None, connect=connect_seconds),
                extensions={"sni_hostname": url.raw_host.decode("ascii")},
            )
            async with request as response:
                return response.status_code

        *others, last = await resolve_public_addresses(url, self._allow_private)
        for address in others:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await send(address, CONNECT_SECONDS)
        return await send(last, None)

    def _sign(self, message: WebhookMessage) -> dict[str, str]:
        assert self._webhook is not None
        sent_at = datetime.fromtimestamp(int(message.sent_at), UTC)
        return {
            "webhook-id": message.message_id,
            "webhook-timestamp": str(int(message.sent_at)),
            "webhook-signature": self._webhook.sign(message.message_id, sent_at, message.body.decode()),
        }
