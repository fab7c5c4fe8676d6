"""Sends webhooks to URLs that clients gave: signed, without redirects, and to no address inside the network."""

import asyncio
from datetime import UTC, datetime
from time import monotonic
from typing import NamedTuple

import httpx
from pydantic import SecretStr
from standardwebhooks import Webhook

from asynchronous.delivery.address_check import PrivateAddress, resolve_public_address
from common.service.problems import Problem

LOOKUP_SECONDS = 1.0


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
                await resolve_public_address(parts, self._allow_private)
        except PrivateAddress as error:
            raise Problem(422, f"callback_url: {error}") from None
        except UnicodeError:
            raise Problem(422, f"callback_url: expected a host, got {parts.host!r:.80}") from None
        except (OSError, TimeoutError):
            pass  # the name may resolve when the result is there

    async def post(self, client: httpx.AsyncClient, url: str, message: WebhookMessage) -> str | None:
        """Send once; None if the receiver took it (2xx), else why not. Only the status of the response is read."""
        parts = httpx.URL(url)
        headers = {"Host": parts.netloc.decode("ascii"), "Content-Type": "application/json"}
        headers |= {"traceparent": message.traceparent} | self._sign(message)
        server_name = {"sni_hostname": parts.raw_host.decode("ascii")}
        try:
            place = parts.copy_with(host=await resolve_public_address(parts, self._allow_private))
            request = client.stream("POST", place, content=message.body, headers=headers, extensions=server_name)
            async with request as response:
                return None if response.is_success else f"the receiver answered {response.status_code}"
        except (PrivateAddress, OSError, UnicodeError, httpx.HTTPError) as error:
            return f"{type(error).__name__}: {error}"

    def _sign(self, message: WebhookMessage) -> dict[str, str]:
        assert self._webhook is not None
        sent_at = datetime.fromtimestamp(int(message.sent_at), UTC)
        return {
            "webhook-id": message.message_id,
            "webhook-timestamp": str(int(message.sent_at)),
            "webhook-signature": self._webhook.sign(message.message_id, sent_at, message.body.decode()),
        }
