"""The container's health check: is the service on this port ready? Exit code 0 is yes, 1 is no.

    python -m common.service.healthcheck 8000

It runs every few seconds beside the service, so it starts quickly: the standard library alone, and little of it.
"""

import http.client
import sys

TIMEOUT_SECONDS = 2.0


def is_ready(port: int, path: str = "/health/ready") -> bool:
    """Ask the service, over IPv6 or IPv4; an error, a refusal and silence all mean no."""
    connection = http.client.HTTPConnection("localhost", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_ready(int(sys.argv[1])) else 1)
