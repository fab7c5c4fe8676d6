"""The container's health check: is the service on this port ready? Exit code 0 is yes, 1 is no.

    python -m common.service.process.healthcheck 8000

It runs every few seconds beside the service, so it starts quickly: `http.client` would take three times as long.
"""

import socket
import sys

TIMEOUT_SECONDS = 2.0
ADDRESSES = ("127.0.0.1", "::1")


def is_ready(port: int, path: str = "/health/ready") -> bool:
    """Ask the service, over IPv4 or IPv6; an error, a refusal and silence all mean no."""
    return any(_answers_200(address, port, path) for address in ADDRESSES)


def _answers_200(address: str, port: int, path: str) -> bool:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((address, port), TIMEOUT_SECONDS) as connection:
            connection.sendall(request.encode())
            status_line = connection.makefile("rb").readline(100)
    except OSError:
        return False
    return status_line.split()[1:2] == [b"200"]


if __name__ == "__main__":
    sys.exit(0 if is_ready(int(sys.argv[1])) else 1)
