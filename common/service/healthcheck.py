"""The container's health check: is the service on this port ready? Exit code 0 is yes, 1 is no.

    python -m common.service.healthcheck 8000

It runs every few seconds beside the service, so it starts quickly: the standard library alone, and little of it.
"""

import http.client
import sys

TIMEOUT_SECONDS = 2.0
ADDRESSES = ("127.0.0.1", "::1")


def is_ready(port: int, path: str = "/health/ready") -> bool:
    """Ask the service, over IPv4 or IPv6; an error, a refusal and silence all mean no."""
    return any(_answers_200(address, port, path) for address in ADDRESSES)


def _answers_200(address: str, port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_ready(int(sys.argv[1])) else 1)
