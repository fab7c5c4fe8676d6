"""Posts to addresses that clients gave: signed, without redirects, and to no address inside the network.

Whoever can name an address could make this service ask its neighbours (server-side request forgery). So the host is
looked up here, each of its addresses must be public, and the connection goes to the very address that was checked.
"""

import asyncio
import socket
from ipaddress import IPv6Address, ip_address
from time import monotonic, time

import httpx
from pydantic import SecretStr

from asynchronous.webhook_signature import signed
from common.service.problems import Problem

LOOKUP_SECONDS = 1.0
NAT64, NAT64_INSIDE = bytes.fromhex("0064ff9b") + bytes(8), bytes.fromhex("0064ff9b0001")
"""How addresses of IPv4 are written as such of IPv6, for translation on the internet, and inside a network."""


class PrivateAddress(Exception):
    """The host is inside the network, or may be."""


class Webhooks:
    """Delivers; `allow_private` is for receivers inside the network that one trusts all clients with."""

    def __init__(self, secret: SecretStr | None, allow_private: bool) -> None:
        self._secret = secret
        self._allow_private = allow_private

    async def check(self, url: str, deadline: float) -> None:
        """Whether deliveries to this address will be tried at all; raises `Problem` 422."""
        if self._secret is None:
            raise Problem(422, "callback_url: not offered here, since no WEBHOOK_SECRET is set: leave it out")
        parts = httpx.URL(url)
        if parts.userinfo:
            raise Problem(422, "callback_url: expected no user name or password in it")
        try:
            async with asyncio.timeout(min(LOOKUP_SECONDS, deadline - monotonic())):
                await self._address(parts)
        except PrivateAddress as error:
            raise Problem(422, f"callback_url: {error}") from None
        except UnicodeError:
            raise Problem(422, f"callback_url: expected a host, got {parts.host!r:.80}") from None
        except (OSError, TimeoutError):
            pass  # it may be found when the result is there

    async def post(
        self, client: httpx.AsyncClient, url: str, message_id: str, body: bytes, traceparent: str
    ) -> str | None:
        """Deliver once; None if the receiver took it (2xx), else why not. Of its answer only the status is read."""
        assert self._secret is not None
        parts = httpx.URL(url)
        headers = {"Host": parts.netloc.decode("ascii"), "Content-Type": "application/json", "traceparent": traceparent}
        headers |= signed(self._secret, message_id, int(time()), body)
        server_name = {"sni_hostname": parts.raw_host.decode("ascii")}
        try:
            place = parts.copy_with(host=await self._address(parts))
            async with client.stream("POST", place, content=body, headers=headers, extensions=server_name) as answer:
                return None if answer.is_success else f"the receiver answered {answer.status_code}"
        except (PrivateAddress, OSError, UnicodeError, httpx.HTTPError) as error:
            return f"{type(error).__name__}: {error}"

    async def _address(self, url: httpx.URL) -> str:
        """One of the host's addresses; raises OSError if there is none, `PrivateAddress` if any is not public."""
        loop = asyncio.get_running_loop()
        host = url.raw_host.decode("ascii")  # `host` would be written in ASCII again, by other rules than httpx's
        found = await loop.getaddrinfo(host, url.port or 443, type=socket.SOCK_STREAM)
        addresses = [str(place[4][0]) for place in found]
        if not self._allow_private and not all(map(is_public, addresses)):
            raise PrivateAddress(f"expected a public host, got {url.host} (WEBHOOK_ALLOW_PRIVATE=true allows it)")
        return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address is one of the internet's, also where one of IPv4 is written as one of IPv6."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if inner := ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None):
            return is_public(str(inner))
        if ip.packed.startswith((NAT64, bytes(12))):  # the last four bytes are an address of IPv4
            return is_public(".".join(map(str, ip.packed[12:])))
        if ip.packed.startswith(NAT64_INSIDE) or ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast
