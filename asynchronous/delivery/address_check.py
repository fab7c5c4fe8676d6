"""Which addresses a webhook may be sent to: none inside the network, or it could be used to attack its neighbours.

This is the defence against server-side request forgery: every address of the host must be public, and the connection
goes to exactly the addresses that were checked.
"""

import asyncio
import socket
from ipaddress import IPv6Address, ip_address

import httpx

NAT64_PREFIX, NAT64_LOCAL_PREFIX = bytes.fromhex("0064ff9b") + bytes(8), bytes.fromhex("0064ff9b0001")
"""IPv4 addresses written as IPv6 addresses, for translation on the internet and inside a network."""


class PrivateAddress(Exception):
    """The host is inside the network, or may be."""


async def resolve_public_addresses(url: httpx.URL, allow_private: bool = False) -> list[str]:
    """The host's addresses, the best first; raises OSError if there is none, `PrivateAddress` if one is not public."""
    loop = asyncio.get_running_loop()
    host = url.raw_host.decode("ascii")  # `host` would be encoded again, by other rules than httpx's
    found = await loop.getaddrinfo(host, url.port or 443, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(place[4][0]) for place in found))
    if not allow_private and not all(map(is_public, addresses)):
        raise PrivateAddress(f"expected a public host, got {url.host} (WEBHOOK_ALLOW_PRIVATE=true allows it)")
    return addresses


def is_public(address: str) -> bool:
    """Whether an address is on the internet; also if it is an IPv4 address inside an IPv6 address."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if inner := ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None):
            return is_public(str(inner))
        if ip.packed.startswith((NAT64_PREFIX, bytes(12))):  # the last four bytes are an IPv4 address
            return is_public(".".join(map(str, ip.packed[12:])))
        if ip.packed.startswith(NAT64_LOCAL_PREFIX) or ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast
