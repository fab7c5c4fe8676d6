"""The container's health check: is the service on this port ready? Exit code 0 is yes, 1 is no.

    python -m common.service.process.healthcheck 8000

It runs every few seconds beside the service, so it starts quickly: `http.client` would take three times as long.
"""

import os
import socket
import sys
from collections.abc import Iterator

TIMEOUT_SECONDS = 2.0
LOOPBACK = ("127.0.0.1", "::1")


def is_ready(port: int, path: str = "/health/ready") -> bool:
    """Ask the service; an error, a refusal and silence all mean no."""
    for address in _addresses():
        try:
            with socket.create_connection((address, port), TIMEOUT_SECONDS) as connection:
                return _answers_200(connection, path)
        except OSError:
            continue
    return False


def _addresses() -> Iterator[str]:
    """Where the service may listen: its UVICORN_HOST, or loopback over IPv4 or IPv6, or an address of this host."""
    if host := os.environ.get("UVICORN_HOST"):
        yield host
    yield from LOOPBACK
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        return
    yield from (str(address[4][0]) for address in found)


def _answers_200(connection: socket.socket, path: str) -> bool:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        connection.sendall(request.encode())
        status_line = connection.makefile("rb").readline(100)
    except OSError:
        return False
    return status_line.split()[1:2] == [b"200"]


if __name__ == "__main__":
    sys.exit(0 if is_ready(int(sys.argv[1])) else 1)
